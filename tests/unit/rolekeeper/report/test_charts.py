from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rolekeeper.contracts.results import ScorePoint
from rolekeeper.report.charts import MAX_LABEL_CHARS, bar_chart, loss_plane, nice_range, score_plane, thinned
from tests.unit.rolekeeper.reports import make_report

JUDGED = make_report().results[0].judges


def test_bars_stand_where_their_rates_say() -> None:
    """The axis goes from 210 to 630: 95 % is 399 wide, its interval from 558.6 to 624.1."""
    (row,) = bar_chart([("phrases", JUDGED[0])]).rows
    base, tuned = row.bars
    assert (base.model, base.width, base.low, base.high, base.text) == ("base", 399.0, 558.6, 624.1, "95.0 %")
    assert (tuned.model, tuned.width) == ("tuned", 378.0)
    assert base.y < tuned.y


def test_a_row_without_rates_is_left_out() -> None:
    chart = bar_chart([(judged.judge, judged) for judged in JUDGED])
    assert [row.label for row in chart.rows] == ["phrases"]


def test_a_long_label_is_cut_in_the_drawing_only() -> None:
    (row,) = bar_chart([("x" * 80, JUDGED[0])]).rows
    assert len(row.label) == 80
    assert row.short_label == "x" * (MAX_LABEL_CHARS - 1) + "\u2026"


def test_scores_lie_on_one_scale_with_the_diagonal() -> None:
    """Values from -1 to 1 in steps of 0.5; 460 pixels to the right and 400 up."""
    points = [
        ScorePoint(index=0, s_role=-1.0, s_unsafe=1.0, harmful=True),
        ScorePoint(index=1, s_role=0.0, s_unsafe=-0.5, harmful=False),
    ]
    plane = score_plane(points)
    assert plane.points == ((60.0, 30.0, "harmful"), (290.0, 330.0, ""))
    assert plane.lines == ("60.0,430.0 520.0,30.0",)
    assert (
        [tick.text for tick in plane.x_ticks]
        == [tick.text for tick in plane.y_ticks]
        == ["-1", "-0.5", "0", "0.5", "1"]
    )


def test_one_score_alone_can_be_drawn() -> None:
    assert len(score_plane([ScorePoint(index=0, s_role=0.0, s_unsafe=0.0, harmful=False)]).points) == 1


def test_losses_are_a_line_and_epochs_are_points() -> None:
    plane = loss_plane([3.0, 2.0, 1.0, 1.0], [2.0, 1.0], num_steps=4)
    assert plane.lines[0] == "175.0,30.0 290.0,230.0 405.0,430.0 520.0,430.0"
    assert plane.points == ((290.0, 230.0, "2.000"), (520.0, 430.0, "1.000"))


def test_validation_losses_alone_are_drawn_too() -> None:
    plane = loss_plane([], [2.0, 1.0], num_steps=4)
    assert (plane.lines[0], len(plane.points)) == ("", 2)


def test_long_curves_are_means_of_equal_runs() -> None:
    assert thinned([1.0, 3.0, 5.0, 7.0, 9.0], most=3) == [(1.5, 2.0), (3.5, 6.0), (5.0, 9.0)]
    assert len(thinned([0.0] * 10_001)) <= 200
    assert thinned([]) == []


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.13, 0.87, [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (-1.0, 1.0, [-1.0, -0.5, 0.0, 0.5, 1.0]),
        (0, 180, [0, 50, 100, 150, 200]),
        (0.0, 5e-324, [0.0, 0.2]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    assert nice_range(low, high)[2] == ticks


@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6))
def test_ticks_hold_what_is_between(one: float, other: float) -> None:
    low, high = sorted((one, other))
    first, last, ticks = nice_range(low, high)
    slack = 1e-6 * max(1.0, abs(low), abs(high))
    assert first - slack <= low <= high <= last + slack
    assert first < last
    assert 2 <= len(ticks) <= 8
