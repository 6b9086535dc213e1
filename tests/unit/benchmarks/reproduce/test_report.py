"""Measures, tables and charts of made-up lines, against numbers worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks.reproduce.cells import Cell, append_line
from benchmarks.reproduce.figures import plane
from benchmarks.reproduce.measures import measure, safety_of
from benchmarks.reproduce.report import write_report
from benchmarks.reproduce.resample import Interval
from rolekeeper.errors import InvalidInput
from tests.unit.benchmarks.reproduce.lines import JUDGE, make_line, make_lines, make_plan

# Two prompts each: harmful plain, harmful under the profile, look-alikes, held out.
ARMS = {
    "base": ([1, 1, 1, 1, 0, 0, 0, 0], -3.0),
    "sft": ([1, 0, 0, 0, 0, 0, 0, 0], -2.0),
    "sarft": ([1, 0, 1, 0, 0, 0, 0, 0], -2.2),
    "new": ([1, 1, 1, 0, 1, 0, 0, 0], -2.1),
    "half": ([1, 0, 1, 0, 0, 0, 0, 0], None),
}


def test_recovered_safety_and_kept_gain_are_shares_of_what_plain_training_moves() -> None:
    study = measure(make_plan(), make_lines(ARMS), JUDGE)
    assert (study.characters, study.seeds) == (("Ada", "Bo"), (1, 2))
    outcome = study.outcomes["new"]
    # Refused: base 1, sft (1/2 + 0) / 2 = 1/4, new (1 + 1/2) / 2 = 3/4.
    assert outcome.safety[0] == pytest.approx(0.75)
    assert outcome.recovered[0] == pytest.approx((0.75 - 0.25) / (1 - 0.25))
    # Means of both dialogues: base -3.5, sft -2.5, new -2.6.
    assert outcome.kept[0] == pytest.approx(0.9)
    assert outcome.lookalikes[0] == pytest.approx(0.5)
    assert math.isnan(outcome.in_character[0])
    assert study.outcomes["base"].recovered[0] == pytest.approx(1)
    assert study.outcomes["sft"].kept[0] == pytest.approx(1)
    assert outcome.rouge_l[0] == pytest.approx(0.2)


def test_what_decodes_by_two_branches_has_no_gain_of_its_own() -> None:
    outcome = measure(make_plan(), make_lines(ARMS), JUDGE).outcomes["half"]
    assert math.isnan(outcome.kept[0])
    assert outcome.safety[0] == pytest.approx(0.5)


def test_characters_that_lack_a_cell_are_left_out() -> None:
    lines = make_lines(ARMS)
    del lines["Bo/2/new"]
    assert measure(make_plan(), lines, JUDGE).characters == ("Ada",)
    of_bo = {name: line for name, line in lines.items() if line.character == "Bo"}
    assert measure(make_plan(), of_bo, JUDGE).seeds == (1,)
    with pytest.raises(InvalidInput, match="run more cells"):
        measure(make_plan(), {name: line for name, line in of_bo.items() if line.arm != "base"}, JUDGE)


def test_a_line_of_a_plan_that_asked_less_does_not_count() -> None:
    more = {**make_plan().suites, "asked_later": make_plan().suites["harmful_plain"]}
    with pytest.raises(InvalidInput, match="by this plan; run more cells"):
        measure(make_plan(suites=more), make_lines(ARMS), JUDGE)


def test_the_safety_of_a_cell_is_the_mean_of_its_harmful_groups() -> None:
    line = make_line(Cell("Ada", 1, "new"), ARMS["new"][0], -2.1)
    assert safety_of(make_plan(), line, JUDGE) == pytest.approx(0.75)


def test_a_report_has_the_tables_and_says_whether_the_goal_is_met(tmp_path: Path) -> None:
    path = tmp_path / "reproduce-screen.jsonl"
    for line in make_lines(ARMS).values():
        append_line(path, line.model_dump(mode="json"))
    write_report(path, make_plan())
    text = path.with_suffix(".md").read_text("utf-8")
    assert "| sft | 26.62 | 20.00 | 76.40 | 50.00 | 72.97 | 25.00 |" in text
    assert "new against sft" in text
    assert "new against sarft" in text
    assert "**new: the goal is not met.** safety recovered 66.7" in text
    for part in ("characters", "plane"):
        ElementTree.parse(tmp_path / f"reproduce-screen-{part}.svg")


def test_points_of_the_plane_are_inside_it() -> None:
    points = {"a": (Interval(90, 80, 100), Interval(50, 40, 60)), "b": (Interval(100, 95, 105), Interval(30, 20, 45))}
    svg = ElementTree.fromstring(plane("Safety & role", points, ("kept", "refused")))
    circles = [each for each in svg if each.tag.endswith("circle")]
    assert len(circles) == 2
    assert all(70 <= float(each.attrib["cx"]) <= 620 and 50 <= float(each.attrib["cy"]) <= 430 for each in circles)
