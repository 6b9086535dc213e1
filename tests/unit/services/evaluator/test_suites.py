"""Suites: the starter suite is whole, public ones are read by their columns, and what is missing or wrong is named."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from rolekeeper.artifacts.store import Store
from rolekeeper.contracts.suites import Part, Suite, SuiteChoice, SuitePrompt, SuiteRequest
from rolekeeper.errors import InvalidInput, NotFound
from rolekeeper.lm.recipe import prompt_digest
from rolekeeper.suites.catalog import HubFile, UnknownSuite, load_entries
from services.evaluator.suites.draw import draw
from services.evaluator.suites.files import SuiteFiles, SuiteUnavailable
from services.evaluator.suites.public import BadSuite, UnknownRole
from services.evaluator.suites.shelf import STARTER_PATH, NothingLeft, Suites

SHARED = Path(__file__).resolve().parents[5] / "shared" / "data"

ADVBENCH = 'goal,target\n"Say it, loudly",Sure, here\n'.replace("Sure, here", '"Sure, here"')
XSTEST = "id,prompt,type,label\n1,How do I kill a process?,homonyms,safe\n2,How do I do harm?,contrast,unsafe\n"
HARMBENCH = (
    "Behavior,FunctionalCategory,SemanticCategory,BehaviorID\n"
    "Do a crime,standard,illegal,crime\nWrite the song,copyright,,song\nBe rude,standard,harassment_bullying,rude\n"
)
JBB = "Index,Goal,Behavior,Category\n0,{goal},Slander,Disinformation\n"
RAW = "".join(
    json.dumps({"role": role, "question": question, "generated": [f"{role} says", question]}) + "\n"
    for role, question in [("Jack Sparrow", "Add 1 and 1."), ("Jack Sparrow", "Add  1 and 1."), ("Lestat", "Sing.")]
)


def offline(file: HubFile) -> Path:
    raise OSError(f"{file.repo} can't be reached")


def write(folder: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def suites(tmp_path: Path, store: Store) -> Suites:
    return Suites(SuiteFiles(tmp_path, offline), store)


def find(suites: Suites, seed: int = 0, character: str = "Isaura", **choice: object) -> Suite:
    return suites.find(
        SuiteRequest(choice=SuiteChoice.model_validate({"name": "starter", **choice}), seed=seed, character=character)
    )


def test_the_starter_suite_is_whole(suites: Suites) -> None:
    suite = find(suites)
    assert len(suite.prompts) == suite.num_total == len(STARTER_PATH.read_bytes().splitlines())
    assert {info.name: info.num_published for info in suites.overview().suites}["starter"] == suite.num_total
    assert suite.sha256 == hashlib.sha256(STARTER_PATH.read_bytes()).hexdigest()


def test_an_unknown_suite_is_refused_and_the_known_ones_are_listed(suites: Suites) -> None:
    with pytest.raises(UnknownSuite, match=r"no suite 'secret'; known are advbench, .*starter.*upload your own"):
        find(suites, name="secret")


def test_advbench(suites: Suites, tmp_path: Path) -> None:
    write(tmp_path, {"advbench/harmful_behaviors.csv": ADVBENCH})
    suite = find(suites, name="advbench")
    assert [(prompt.id, prompt.part, prompt.prompt) for prompt in suite.prompts] == [
        ("harmful-0001", Part.HARMFUL, "Say it, loudly")
    ]
    assert (suite.licence, suite.sha256) == ("MIT", hashlib.sha256(ADVBENCH.encode()).hexdigest())
    assert suite.source.endswith("advbench/harmful_behaviors.csv in the folder of suites, 1 of 520 published prompts")


def test_a_copy_of_advbench_with_swapped_header_names_is_refused(suites: Suites, tmp_path: Path) -> None:
    write(tmp_path, {"advbench/harmful_behaviors.csv": ADVBENCH.replace("goal,target", "target,goal")})
    with pytest.raises(BadSuite, match=r"'goal' holds the target answers.*header line are swapped"):
        find(suites, name="advbench")


def test_parts_may_be_in_a_column(suites: Suites, tmp_path: Path) -> None:
    write(tmp_path, {"xstest/xstest_prompts.csv": XSTEST})
    prompts = find(suites, name="xstest").prompts
    assert [(prompt.id, prompt.part, prompt.category) for prompt in prompts] == [
        ("benign-1", Part.BENIGN, "homonyms"),
        ("harmful-2", Part.HARMFUL, "contrast"),
    ]


def test_only_the_standard_rows_of_harmbench_and_openais_names_where_they_fit(suites: Suites, tmp_path: Path) -> None:
    write(tmp_path, {"harmbench/harmbench_behaviors_text_all.csv": HARMBENCH})
    prompts = find(suites, name="harmbench").prompts
    assert [(prompt.id, prompt.category) for prompt in prompts] == [
        ("harmful-crime", "illicit"),
        ("harmful-rude", "harassment_bullying"),
    ]


def test_a_suite_of_two_files(suites: Suites, tmp_path: Path) -> None:
    texts = {name: JBB.format(goal=f"Be {name}") for name in ("harmful", "benign")}
    write(tmp_path, {f"jailbreakbench/{name}-behaviors.csv": text for name, text in texts.items()})
    suite = find(suites, name="jailbreakbench")
    assert [(prompt.id, prompt.prompt) for prompt in suite.prompts] == [
        ("harmful-Slander", "Be harmful"),
        ("benign-Slander", "Be benign"),
    ]
    assert suite.sha256 == hashlib.sha256((texts["harmful"] + texts["benign"]).encode()).hexdigest()


def test_sets_call_a_category_by_one_name(suites: Suites, tmp_path: Path) -> None:
    jbb = "Index,Goal,Behavior,Category\n0,Be {part},Lists,Privacy\n"
    files = {f"jailbreakbench/{part}-behaviors.csv": jbb.format(part=part) for part in ("harmful", "benign")}
    beavertails = json.dumps({"prompt": "Tell a secret", "category": "privacy_violation"})
    write(tmp_path, files | {"beavertails_evaluation/test.jsonl": f"{beavertails}\n"})
    chosen = (find(suites, name=name) for name in ("jailbreakbench", "beavertails_evaluation"))
    assert {prompt.category for suite in chosen for prompt in suite.prompts} == {"privacy"}


def test_files_without_a_header_line(suites: Suites, tmp_path: Path) -> None:
    numbers = (1, *range(3, 12))
    write(tmp_path, {f"hex_phi/category_{number}.csv": f'"Do, {number}"\n' for number in numbers})
    suite = find(suites, name="hex_phi")
    assert [prompt.prompt for prompt in suite.prompts] == [f"Do, {number}" for number in numbers]
    assert suite.prompts[-1].category == "advice"


def test_a_role_is_asked_its_own_questions_once_with_all_references(suites: Suites, tmp_path: Path) -> None:
    write(tmp_path, {"rolebench/role-generalization__general__test.jsonl": RAW})
    asked = find(suites, name="rolebench_raw", role="jack_sparrow")
    assert [(prompt.prompt, prompt.references) for prompt in asked.prompts] == [
        ("Add 1 and 1.", ("Jack Sparrow says", "Add 1 and 1."))
    ]
    assert find(suites, name="rolebench_raw", character="Lestat").prompts[0].prompt == "Sing."
    with pytest.raises(UnknownRole, match="no questions for 'Isaura'; give `role` with one of Jack Sparrow, Lestat"):
        find(suites, name="rolebench_raw")


def test_a_suite_that_is_nowhere_says_what_to_put_where(suites: Suites, tmp_path: Path, store: Store) -> None:
    with pytest.raises(SuiteUnavailable, match=r"download https://raw.*to strongreject/strongreject_dataset.csv in /"):
        find(suites, name="strongreject")
    with pytest.raises(SuiteUnavailable, match=r"JBB-Behaviors can't be reached.*harmful-behaviors.csv in /"):
        find(suites, name="jailbreakbench")
    nowhere = Suites(SuiteFiles(None, offline), store)
    with pytest.raises(SuiteUnavailable, match="in the folder that the evaluator's setting ROLEKEEPER_SUITES_DIR"):
        find(nowhere, name="xstest")


def test_a_file_from_the_hub_is_named_by_its_commit(tmp_path: Path, store: Store) -> None:
    """The hub's cache keeps a file under snapshots/<commit>/."""

    def fetch(file: HubFile) -> Path:
        path = tmp_path / "snapshots" / "c0ffee" / file.file
        write(path.parent, {path.name: JBB.format(goal="Be bad")})
        return path

    suite = find(Suites(SuiteFiles(None, fetch), store), name="jailbreakbench")
    assert "data/benign-behaviors.csv of JailbreakBench/JBB-Behaviors on the hub at c0ffee" in suite.source


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("id,prompt,type\n1,Hi,x\n", "line 2: there is no column 'label'; the columns are id, prompt, type"),
        ("id,prompt,type,label\n1,Hi,x,odd\n", "line 2: label is 'odd'; known are safe, unsafe"),
        ("id,prompt,type,label\n1,Hi,x\n", "line 2: has 3 cells, but there are 4 columns"),
        ('id,prompt,type,label\n1,"Hi,x,safe\n', "line 2: is not CSV"),
        ("id,prompt,type,label\n1,Hi,x,safe\n1,Ho,x,safe\n", "the id 'benign-1' is there twice"),
        ("id,prompt,type,label\n", "there are no prompts"),
        ("id,prompt,type,label\n1, ,x,safe\n", "line 2: is not a prompt"),
    ],
)
def test_a_broken_file_is_named_with_its_line(suites: Suites, tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, {"xstest/xstest_prompts.csv": text})
    with pytest.raises(BadSuite, match=reason):
        find(suites, name="xstest")


def test_an_uploaded_suite_is_read_from_the_artifact_store(suites: Suites, store: Store) -> None:
    data = b"prompt,part,category\nDo it,harmful,illicit\nHelp me,benign,none\n"
    choice = SuiteChoice(file="file_1")
    suite = suites.find(SuiteRequest(choice=choice, file_sha256=store.put(data).sha256))
    assert [(prompt.id, prompt.part) for prompt in suite.prompts] == [
        ("line-2", Part.HARMFUL),
        ("line-3", Part.BENIGN),
    ]
    assert (suite.name, suite.source) == ("file_1", "uploaded file file_1")
    assert suite.sha256 == hashlib.sha256(data).hexdigest()
    with pytest.raises(NotFound):
        suites.find(SuiteRequest(choice=choice, file_sha256="0" * 64))
    with pytest.raises(BadSuite, match="line 1: /part must be one of"):
        suites.find(SuiteRequest(choice=choice, file_sha256=store.put(b'{"prompt": "x", "category": "y"}').sha256))


def test_a_part_of_a_suite_is_drawn_by_the_seed_and_keeps_the_order(suites: Suites) -> None:
    whole = find(suites)
    first, again, other = (find(suites, seed=seed, max_prompts=12) for seed in (1, 1, 2))
    assert first == again
    assert first.prompts != other.prompts
    places = [whole.prompts.index(prompt) for prompt in first.prompts]
    assert places == sorted(set(places))
    assert (len(first.prompts), first.num_total, first.sha256) == (12, whole.num_total, whole.sha256)


def trained_on(store: Store, folder: Path, *texts: str) -> Suites:
    """The suites of a deployment whose base model `tiny` was trained on these texts."""
    return Suites(SuiteFiles(folder, offline), store, {"tiny": {prompt_digest(text) for text in texts}})


def test_prompts_that_the_base_model_was_trained_on_are_left_out_before_drawing(store: Store, tmp_path: Path) -> None:
    data = b"prompt,part,category\nDo it!,harmful,c\nHelp me,benign,c\n"
    data += b'Go on,harmful,c\n"{name}, sing",in_character_benign,c\n'
    digest, shelf = store.put(data).sha256, trained_on(store, tmp_path, "do  IT", "Sing", "Help us")

    def ask(**choice: object) -> SuiteRequest:
        chosen = SuiteChoice.model_validate({"file": "file_1", **choice})
        return SuiteRequest(choice=chosen, file_sha256=digest, base_model="tiny")

    suite = shelf.find(ask())
    assert [prompt.prompt for prompt in suite.prompts] == ["Help me", "Go on"]
    assert (suite.num_total, suite.num_left_out) == (2, 2)
    assert shelf.find(ask(max_prompts=2)).prompts == suite.prompts
    other = shelf.find(ask().model_copy(update={"base_model": "other"}))
    assert (len(other.prompts), other.num_left_out) == (4, 0)
    (tmp_path / "attacks").mkdir()
    (tmp_path / "attacks/aim.txt").write_text("Please: {{ prompt }}", encoding="utf-8")
    attack = shelf.find(ask(attack="aim"))
    assert ([prompt.goal for prompt in attack.prompts], attack.num_total, attack.num_left_out) == (["Go on"], 1, 1)


def test_a_suite_of_which_nothing_is_left_is_refused(store: Store, tmp_path: Path) -> None:
    write(tmp_path, {"advbench/harmful_behaviors.csv": ADVBENCH})
    request = SuiteRequest(choice=SuiteChoice(name="advbench"), base_model="tiny")
    with pytest.raises(NothingLeft, match="trained on all 1 prompts of suite 'advbench'; choose another suite"):
        trained_on(store, tmp_path, "say it loudly").find(request)


def test_every_category_has_its_share_of_a_drawn_part() -> None:
    sizes = {"large": 60, "middle": 30, "small": 10}
    prompts = [
        SuitePrompt(id=f"{name}-{number}", part=Part.HARMFUL, category=name, prompt="?")
        for name, size in sizes.items()
        for number in range(size)
    ]
    for seed in range(20):
        counts = Counter(prompt.category for prompt in draw(prompts, 10, seed))
        assert counts == {"large": 6, "middle": 3, "small": 1}
        counts = Counter(prompt.category for prompt in draw(prompts, 37, seed))
        assert all(abs(counts[name] - 0.37 * size) < 2 for name, size in sizes.items())


def test_few_prompts_hold_every_part_in_its_share_and_no_category_too_seldom(suites: Suites) -> None:
    """Many small categories: a part of a hundred prompts must not lose its place to one whose categories are larger."""
    prompts = find(suites).prompts
    sizes, drawn = Counter(prompt.part for prompt in prompts), Counter[str]()
    for seed in range(400):
        chosen = draw(prompts, 40, seed)
        counts = Counter(prompt.part for prompt in chosen)
        assert all(abs(counts[part] - 40 * size / len(prompts)) < 1 for part, size in sizes.items())
        drawn.update(f"{prompt.part} {prompt.category}" for prompt in chosen)
    shares = Counter(f"{prompt.part} {prompt.category}" for prompt in prompts)
    assert all(0.7 < drawn[name] * len(prompts) / (400 * 40 * share) < 1.3 for name, share in shares.items())


def test_every_declared_suite_is_listed_with_its_licence_and_what_is_missing(suites: Suites, tmp_path: Path) -> None:
    write(tmp_path, {"xstest/xstest_prompts.csv": XSTEST})
    listed = {info.name: info for info in suites.overview().suites}
    assert listed.keys() == {"starter", *load_entries()}
    assert (listed["xstest"].available, listed["xstest"].licence) == (True, "CC-BY-4.0")
    assert not listed["advbench"].available
    assert "to advbench/harmful_behaviors.csv in" in listed["advbench"].note


@pytest.mark.skipif(not SHARED.is_dir(), reason="the public prompt sets are not beside this checkout")
@pytest.mark.parametrize(
    "name", ["advbench", "harmbench", "jailbreakbench", "xstest", "rolebench_raw", "rolebench_spe"]
)
def test_real_files_are_read(name: str, store: Store) -> None:
    shelf = Suites(SuiteFiles(SHARED, offline), store)
    if not {info.name: info.available for info in shelf.overview().suites}[name]:
        pytest.skip(f"{name} is not beside this checkout")
    try:
        suite = find(shelf, name=name, role="Jack Sparrow")
    except InvalidInput as error:
        pytest.fail(error.message)
    assert suite.num_total == len({prompt.id for prompt in suite.prompts}) >= 100
    assert all(prompt.references for prompt in suite.prompts if prompt.part is Part.ROLE_FIDELITY)
