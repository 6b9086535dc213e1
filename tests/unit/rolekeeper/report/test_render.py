"""The page, read by an HTML parser: what is in it, what can't be, and whether it can be used without a mouse."""

from __future__ import annotations

import base64
import hashlib
from html.parser import HTMLParser
from itertools import pairwise

import pytest

from rolekeeper.contracts.report import SafetyReport
from rolekeeper.report.render import content_security_policy, render_page
from tests.unit.rolekeeper.reports import HOSTILE, make_report

VOID = {"meta", "input", "br", "img", "link", "hr"}


class Page(HTMLParser):
    """All elements with their attributes, and the text of each kind of element. Raises if tags do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def text_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@pytest.fixture(scope="module")
def text() -> str:
    return render_page(make_report())


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_hostile_texts_stay_text(page: Page) -> None:
    assert [name for name, _ in page.elements].count("script") == 1
    assert not page.all("img")
    assert page.text_of("p").count(HOSTILE) == 2
    assert "alert" not in "".join(page.text_of("script"))
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]


def test_hostile_names_stay_text() -> None:
    report = make_report()
    suite = report.suites[0].model_copy(update={"label": HOSTILE, "source": HOSTILE})
    part = report.results[0].model_copy(update={"suite": HOSTILE, "part": HOSTILE})
    named = report.model_copy(
        update={"character_name": HOSTILE, "suites": (suite,), "results": (part,), "software": {HOSTILE: HOSTILE}}
    )
    page = Page(render_page(named))
    assert [name for name, _ in page.elements].count("script") == 1
    assert page.text_of("h1") == [HOSTILE]
    assert page.text_of("title")[0] == f"Safety report: {HOSTILE}"


def test_the_page_needs_nothing_else(page: Page) -> None:
    assert not page.all("link")
    for _, attributes in page.elements:
        assert not attributes.keys() & {"src", "href", "srcset", "action", "data", "style", "xlink:href"}
    assert "url(" not in "".join(page.text_of("style"))
    assert "@import" not in "".join(page.text_of("style"))


def test_the_policy_allows_this_style_and_this_script_alone(page: Page) -> None:
    (policy,) = [meta["content"] for meta in page.all("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    assert policy == content_security_policy()
    assert policy.startswith("default-src 'none'; ")
    for tag in ("style", "script"):
        content = "".join(page.text_of(tag))
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_headings_step_down_one_at_a_time(page: Page) -> None:
    levels = [int(name[1]) for name, _ in page.elements if name in ("h1", "h2", "h3", "h4", "h5")]
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_every_id_is_unique_and_every_reference_leads_to_one(page: Page) -> None:
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in ("for", "aria-labelledby"):
            assert set(attributes.get(name, "").split()) <= set(ids)


def test_charts_have_a_title_and_a_description(page: Page) -> None:
    charts = page.all("svg")
    assert len(charts) == 3
    for chart in charts:
        assert chart["role"] == "img"
        assert len(chart["aria-labelledby"].split()) == 2


def test_answers_are_veiled_until_a_labelled_box_is_checked(page: Page) -> None:
    boxes = [attributes for attributes in page.all("input") if attributes["class"] == "reveal"]
    assert len(boxes) == 2
    labelled = [attributes["for"] for attributes in page.all("label") if "aria-hidden" not in attributes]
    assert [box["id"] for box in boxes] == labelled
    assert not any("checked" in box for box in boxes)


def test_tables_have_headers_with_a_scope(page: Page) -> None:
    assert page.all("table")
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))


def test_an_attack_that_hides_nothing_says_so(page: Page) -> None:
    report = make_report()
    plain = report.attacks[0].model_copy(update={"base_understood": None, "tuned_understood": None})
    cells = Page(render_page(report.model_copy(update={"attacks": (plain,)}))).text_of("td")
    assert cells.count("hides nothing") == len(plain.judges)
    assert "answers that show that it was understood" not in cells
    assert "hides nothing" not in page.text_of("td")


def test_attacks_stand_beside_how_far_they_were_understood(page: Page) -> None:
    cells = page.text_of("td")
    assert "answers that show that it was understood" in cells
    assert page.text_of("h2") == [
        "In short",
        "Refusals",
        "Jailbreaks",
        "The character's voice",
        "Training",
        "Answers, side by side",
        "What this was made from",
    ]


def test_the_three_questions_come_first_and_then_the_gate_with_its_reasons(text: str, page: Page) -> None:
    questions = ("Did it learn the role?", "Did it stay safe?", "Does it still answer?")
    places = [text.index(words) for words in (*questions, "holds this adapter back", "Refusals are those")]
    assert places == sorted(places)
    assert "starter, harmful: refusals fell by more than 0.05" in page.text_of("li")
    found = make_report().gate
    assert found is not None
    said = {
        "released": "The release gate passed.",
        "undecided": "The release gate is undecided, and leaves this adapter",
    }
    for verdict, sentence in said.items():
        gate = found.model_copy(update={"verdict": verdict})
        assert sentence in render_page(make_report().model_copy(update={"gate": gate}))


def test_the_gate_says_what_it_would_catch(page: Page) -> None:
    cells = page.text_of("td")
    assert cells[cells.index("starter, harmful: refusals fell by more than 0.05") + 2] == "0.012"


def test_every_judge_and_digest_is_named(text: str) -> None:
    report = make_report()
    assert all(judge.version in text and judge.note in text for judge in report.judges)
    named = (report.base_digest, report.adapter_sha256, report.dialogues_sha256, report.scores_sha256)
    assert all(digest in text for digest in (*named, report.suites[0].sha256))
    assert "torch 2.13.0" in text
    assert report.decoding in text


def test_prompts_that_were_left_out_are_counted_and_the_reason_is_given(page: Page, text: str) -> None:
    assert "left out" in page.text_of("th")
    assert "Left out are prompts that the base model was trained on" in text
    (suite,) = make_report().suites
    none = make_report().model_copy(update={"suites": (suite.model_copy(update={"num_left_out": 0}),)})
    assert "Left out are" not in render_page(none)


def test_the_same_report_gives_the_same_page(text: str) -> None:
    read_back = SafetyReport.model_validate_json(make_report().model_dump_json())
    assert render_page(read_back) == text


def test_a_report_with_little_in_it_is_still_a_page() -> None:
    report = make_report()
    training = report.training.model_copy(update={"losses": (), "validation_losses": ()})
    nothing = {
        "measures": (),
        "results": (),
        "fidelity": (),
        "attacks": (),
        "points": (),
        "answers": (),
        "training": training,
    }
    page = Page(render_page(report.model_copy(update=nothing)))
    assert not page.all("svg")
