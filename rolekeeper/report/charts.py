"""Where the marks of the charts go. Coordinates are in pixels of the drawing, y down; nothing here knows HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

from rolekeeper.contracts.estimates import Estimate
from rolekeeper.contracts.results import Refusals, ScorePoint

MAX_LABEL_CHARS = 28
MAX_LINE_POINTS = 200
BAR_LEFT, BAR_WIDTH = 210.0, 420.0
BAR_HEIGHT, ROW_HEIGHT, AXIS_HEIGHT = 13.0, 44.0, 26.0


class Mark(NamedTuple):
    """A tick or a point: a place on an axis or in the plane, and what it is called there."""

    x: float
    y: float
    text: str = ""


class Bar(NamedTuple):
    """A bar from the left edge, with the ends of its interval; `text` is its value."""

    model: str
    y: float
    width: float
    low: float
    high: float
    text: str


class BarRow(NamedTuple):
    """The two bars of one row, and its label: short in the drawing, in full for who asks."""

    label: str
    short_label: str
    y: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class BarChart:
    """Horizontal bars of rates between 0 and 1."""

    height: float
    ticks: tuple[Mark, ...]
    rows: tuple[BarRow, ...]


@dataclass(frozen=True)
class Plane:
    """A plot of points, with straight axes and as many lines as there are."""

    width: float
    height: float
    x_ticks: tuple[Mark, ...]
    y_ticks: tuple[Mark, ...]
    points: tuple[Mark, ...]
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Scale:
    """Maps values to pixels: `low` to `start`, `high` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        """The pixel of a value, to a tenth."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)


def bar_chart(rows: Iterable[tuple[str, Refusals]]) -> BarChart:
    """Return base above tuned, a row for each label that has a rate."""
    found = [(label, refusals) for label, refusals in rows if refusals.base_rate or refusals.tuned_rate]
    height = AXIS_HEIGHT + ROW_HEIGHT * len(found)
    scale = Scale(0.0, 1.0, BAR_LEFT, BAR_LEFT + BAR_WIDTH)
    ticks = tuple(Mark(scale(share), height - AXIS_HEIGHT, f"{share:.0%}") for share in (0.0, 0.25, 0.5, 0.75, 1.0))
    return BarChart(
        height, ticks, tuple(_bar_row(place, label, refusals) for place, (label, refusals) in enumerate(found))
    )


def score_plane(points: Sequence[ScorePoint]) -> Plane:
    """Return s_role to the right, s_unsafe upwards, and the diagonal above which the unsafe prompt wins.

    A point's text is `harmful` or nothing. There must be points.
    """
    values = [value for point in points for value in (point.s_role, point.s_unsafe)]
    low, high, ticks = nice_range(min(values), max(values))
    x, y = Scale(low, high, 60, 520), Scale(low, high, 430, 30)
    return Plane(
        width=540,
        height=480,
        x_ticks=tuple(Mark(x(tick), 430, f"{tick:g}") for tick in ticks),
        y_ticks=tuple(Mark(60, y(tick), f"{tick:g}") for tick in ticks),
        points=tuple(Mark(x(p.s_role), y(p.s_unsafe), "harmful" if p.harmful else "") for p in points),
        lines=(f"{x(low)},{y(low)} {x(high)},{y(high)}",),
    )


def loss_plane(losses: Sequence[float], validation_losses: Sequence[float], num_steps: int) -> Plane:
    """Return the loss over the steps as a line, and the validation loss after each epoch as points and a line.

    Long curves are drawn as means of equal runs of steps. There must be losses of one kind.
    """
    low, high, ticks = nice_range(min([*losses, *validation_losses]), max([*losses, *validation_losses]))
    x, y = Scale(0, max(1, num_steps), 60, 520), Scale(low, high, 430, 30)
    steps = [int(step) for step in nice_range(0, num_steps)[2] if step <= num_steps and step == int(step)]
    per_epoch = num_steps / max(1, len(validation_losses))
    points = [Mark(x(per_epoch * epoch), y(loss), f"{loss:.3f}") for epoch, loss in enumerate(validation_losses, 1)]
    line = [f"{x(step)},{y(loss)}" for step, loss in thinned(losses)]
    return Plane(
        width=540,
        height=480,
        x_ticks=tuple(Mark(x(step), 430, f"{step}") for step in steps),
        y_ticks=tuple(Mark(60, y(tick), f"{tick:g}") for tick in ticks),
        points=tuple(points),
        lines=(" ".join(line), " ".join(f"{point.x},{point.y}" for point in points)),
    )


def thinned(losses: Sequence[float], most: int = MAX_LINE_POINTS) -> list[tuple[float, float]]:
    """Return (step from 1, loss), of long curves the middle and the mean of equal runs, at most `most`."""
    run = max(1, math.ceil(len(losses) / most))
    pieces = [(start, losses[start : start + run]) for start in range(0, len(losses), run)]
    return [(start + (len(piece) + 1) / 2, fmean(piece)) for start, piece in pieces]


def nice_range(low: float, high: float, num_steps: int = 5) -> tuple[float, float, list[float]]:
    """Return round ends that hold both values, and about `num_steps` ticks between, 1, 2 or 5 times 10^k apart."""
    size = max(abs(low), abs(high), 1.0)
    # Values that differ by rounding alone are one value.
    span = high - low if high - low > 1e-6 * size else size
    power = 10 ** math.floor(math.log10(span / num_steps))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / num_steps * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    # Ten digits: 3 * 0.1 must read 0.3.
    return first * step, last * step, [round(index * step, 10) for index in range(first, last + 1)]


def _bar_row(place: int, label: str, refusals: Refusals) -> BarRow:
    y = ROW_HEIGHT * place
    rates = (("base", refusals.base_rate), ("tuned", refusals.tuned_rate))
    bars = tuple(_bar(model, y + 6 + 16 * index, rate) for index, (model, rate) in enumerate(rates) if rate)
    short = label if len(label) <= MAX_LABEL_CHARS else label[: MAX_LABEL_CHARS - 1] + "\u2026"
    return BarRow(label, short, y, bars)


def _bar(model: str, y: float, rate: Estimate) -> Bar:
    scale = Scale(0.0, 1.0, BAR_LEFT, BAR_LEFT + BAR_WIDTH)
    width = round(rate.value * BAR_WIDTH, 1)
    return Bar(model, y, width, scale(rate.low), scale(rate.high), f"{100 * rate.value:.1f} %")
