"""Charts of the study as SVG: safety by character, and the plane of safety and role with the front that none beats."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape

from benchmarks.reproduce.resample import Interval, pareto_front
from rolekeeper.report.charts import Scale, nice_range

COLOURS = ("#9aa0a6", "#d1495b", "#edae49", "#00798c", "#30638e", "#6a4c93", "#5b8c5a", "#8d6a4f")
BAR, GAP, LEFT, WIDTH = 11, 12, 190, 480


def bars(title: str, rows: Mapping[str, Mapping[str, float]]) -> str:
    """Horizontal bars of rates between 0 and 1: a row for each character, in it a bar for each arm."""
    arms = list(dict.fromkeys(arm for row in rows.values() for arm in row))
    colours = {arm: COLOURS[index % len(COLOURS)] for index, arm in enumerate(arms)}
    scale, y, marks = Scale(0, 1, LEFT, LEFT + WIDTH), 70.0, list[str]()
    for label, row in rows.items():
        marks.append(_text(LEFT - 8, y + BAR * len(row) / 2 + 4, label, "end"))
        for arm, rate in row.items():
            width = scale(rate) - LEFT
            marks.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{colours[arm]}"/>')
            y += BAR
        y += GAP
    ticks = [_text(scale(share), y + 12, f"{share:.0%}", "middle") for share in (0, 0.25, 0.5, 0.75, 1)]
    return _svg(title, LEFT + WIDTH + 40, int(y + 30), [*_legend(colours), *marks, *ticks])


def plane(title: str, points: Mapping[str, tuple[Interval, Interval]], names: tuple[str, str]) -> str:
    """Points with the intervals of both values, and a line through those that no other beats in both.

    Names are beside the drawing, by number.
    """
    values = {name: (x.value, y.value) for name, (x, y) in points.items()}
    ends_x, ends_y = ([v for pair in points.values() for v in pair[axis]] for axis in (0, 1))
    low_x, high_x, ticks_x = nice_range(min(ends_x), max(ends_x))
    low_y, high_y, ticks_y = nice_range(min(ends_y), max(ends_y))
    x, y = Scale(low_x, high_x, 70, 620), Scale(low_y, high_y, 430, 50)
    front = " ".join(f"{x(values[name][0])},{y(values[name][1])}" for name in pareto_front(values))
    marks = [f'<polyline points="{front}" fill="none" stroke="#00798c" stroke-dasharray="4 3"/>']
    # Points lie close together: numbers stand at them, and the names beside, the safest first.
    for number, name in enumerate(sorted(points, key=lambda name: -values[name][1]), start=1):
        marks += _point(number, points[name], x, y)
        marks.append(_text(640, 50 + 16 * number, f"{number}  {name}", "start"))
    marks += [_text(x(tick), 448, f"{tick:g}", "middle") for tick in ticks_x]
    marks += [_text(62, y(tick) + 4, f"{tick:g}", "end") for tick in ticks_y]
    marks += [_text(345, 468, names[0], "middle"), _text(70, 40, names[1], "start")]
    return _svg(title, 800, 480, ['<path d="M70 50V430H620" fill="none" stroke="#333"/>', *marks])


def _point(number: int, pair: tuple[Interval, Interval], x: Scale, y: Scale) -> Iterator[str]:
    (across, left, right), (up, low, high) = pair
    yield f'<path d="M{x(left)} {y(up)}H{x(right)}M{x(across)} {y(low)}V{y(high)}" stroke="#bbb"/>'
    yield f'<circle cx="{x(across)}" cy="{y(up)}" r="4" fill="#30638e"/>'
    yield _text(x(across) + 6, y(up) - 6, str(number), "start")


def _legend(colours: Mapping[str, str]) -> Iterator[str]:
    for index, (arm, colour) in enumerate(colours.items()):
        column, row = index % 5, index // 5
        yield f'<rect x="{20 + 132 * column}" y="{30 + 16 * row}" width="9" height="9" fill="{colour}"/>'
        yield _text(33 + 132 * column, 39 + 16 * row, arm, "start")


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(title: str, width: int, height: int, marks: Sequence[str]) -> str:
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
    heading = f'<text x="20" y="20" font-size="14" font-weight="bold">{escape(title)}</text>'
    background = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join(
        [f'{head} font-size="11">', f"<title>{escape(title)}</title>", background, heading, *marks, "</svg>\n"]
    )
