"""Published jailbreaks: where their texts are found, and what is asked. The texts here are harmless stand-ins."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from rolekeeper.contracts.suites import MADE_FOR_A_MODEL, AttackName, Encoding, Part, SuitePrompt
from services.evaluator.attacks import templates
from services.evaluator.attacks.apply import DECRYPT_REVERSED, Attacked, Attacks, NothingToAttack
from services.evaluator.attacks.prompt_files import UnknownAttackModel
from services.evaluator.suites.files import SuiteUnavailable
from services.evaluator.suites.public import BadSuite

SHARED = Path(__file__).resolve().parents[6] / "shared" / "data"
JBB = "jailbreakbench/attack_prompts.jsonl"

PROMPTS = [
    SuitePrompt(id="harmful-Paint", part=Part.HARMFUL, category="c", prompt="Paint the town red."),
    SuitePrompt(id="harmful-Moon", part=Part.HARMFUL, category="c", prompt="Steal the moon"),
    SuitePrompt(id="benign-Paint", part=Part.BENIGN, category="c", prompt="Paint a wall"),
]


@pytest.fixture(autouse=True)
def no_pyrit(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is installed here must not decide."""
    monkeypatch.setattr(templates, "_pyrit_file", lambda _name: None)


def write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def apply(folder: Path | None, attack: AttackName, model: str | None = None) -> Attacked:
    return Attacks(folder).apply(attack, model, PROMPTS)


def jsonl(*rows: dict[str, object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def row(attack: str, goal: str, prompt: str, model: str = "m-7b", behavior: str = "") -> dict[str, object]:
    return {"attack": attack, "goal": goal, "prompt": prompt, "target_model": model, "behavior": behavior}


def test_a_template_of_the_operator_goes_around_every_harmful_prompt(tmp_path: Path) -> None:
    write(tmp_path, "attacks/aim.txt", "Once upon a time: {{ prompt }} The end.\n")
    prompts, used = apply(tmp_path, AttackName.AIM)
    assert [prompt.prompt for prompt in prompts] == [
        "Once upon a time: Paint the town red. The end.",
        "Once upon a time: Steal the moon The end.",
    ]
    assert [prompt.goal for prompt in prompts] == ["Paint the town red.", "Steal the moon"]
    assert {prompt.part for prompt in prompts} == {Part.JAILBREAK}
    assert {prompt.encoding for prompt in prompts} == {None}
    assert used.made_for is None
    assert used.sha256 == hashlib.sha256((tmp_path / "attacks/aim.txt").read_bytes()).hexdigest()


def test_aim_is_what_the_published_prompts_have_in_common(tmp_path: Path) -> None:
    rows = [row("JBC", goal, f"Tell a tale.\n{goal}\nThe end.") for goal in ("Sing", "Dance a jig")]
    write(tmp_path, JBB, jsonl(row("GCG", "Sing", "Sing !!"), *rows))
    prompts, used = apply(tmp_path, AttackName.AIM)
    assert prompts[1].prompt == "Tell a tale.\nSteal the moon\nThe end."
    assert (used.licence, used.source) == ("MIT", f"the JBC prompts of {JBB}")
    write(tmp_path, JBB, jsonl(*rows, row("JBC", "Hum", "Another tale. Hum")))
    with pytest.raises(BadSuite, match="not one template"):
        apply(tmp_path, AttackName.AIM)


def test_the_cipher_hides_the_request_and_keeps_the_goal(tmp_path: Path) -> None:
    write(tmp_path, "attacks/cipher.yaml", "name: x\nvalue: >\n  We write in cipher.\n  {{ prompt }}\n")
    prompts, _ = apply(tmp_path, AttackName.CIPHER)
    assert prompts[1].prompt == "We write in cipher. Vwhdo wkh prrq"
    assert (prompts[1].goal, prompts[1].encoding) == ("Steal the moon", Encoding.CAESAR)


def test_codechameleon_turns_the_words_around_and_says_how_to_turn_them_back(tmp_path: Path) -> None:
    write(tmp_path, "attacks/codechameleon.txt", "{{ decrypt_function }}\nproblem = '{{ encoded_prompt }}'")
    prompts, _ = apply(tmp_path, AttackName.CODECHAMELEON)
    assert prompts[1].prompt == f"{DECRYPT_REVERSED}\nproblem = 'moon the Steal'"
    assert prompts[1].encoding is Encoding.REVERSED_WORDS
    scope: dict[str, object] = {}
    exec(DECRYPT_REVERSED.removeprefix("```python\n").removesuffix("```"), scope)
    decryption = scope["decryption"]
    assert callable(decryption)
    assert decryption("moon the Steal") == "Steal the moon"


@pytest.mark.parametrize(
    ("text", "reason"), [("No place", "has no place for the request"), ("{{ goal }}", r"knows no \{\{ goal \}\}")]
)
def test_a_template_must_say_where_the_request_goes(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, "attacks/aim.txt", text)
    with pytest.raises(BadSuite, match=reason):
        apply(tmp_path, AttackName.AIM)


def test_demonstrations_come_before_the_request(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Knock knock"}, {"role": "assistant", "content": "Who is there?"}]
    write(tmp_path, "attacks/ica.jsonl", jsonl({"messages": turns}, {"messages": turns}))
    prompts, _ = apply(tmp_path, AttackName.ICA)
    assert [turn.role for turn in prompts[0].turns] == ["user", "assistant"] * 2
    assert prompts[0].prompt == prompts[0].goal == "Paint the town red."
    write(tmp_path, "attacks/ica.jsonl", jsonl({"messages": turns[:1]}))
    with pytest.raises(BadSuite, match="must take turns"):
        apply(tmp_path, AttackName.ICA)
    write(tmp_path, "attacks/ica.jsonl", "\n{}")
    with pytest.raises(BadSuite, match="line 2: not a dialogue"):
        apply(tmp_path, AttackName.ICA)


def test_published_prompts_are_found_by_goal_or_by_behaviour(tmp_path: Path) -> None:
    rows = [row("GCG", "paint the town RED", "Paint !!"), row("GCG", "Rob the moon", "Moon !!", behavior="Moon")]
    write(tmp_path, JBB, jsonl(*rows, row("DSN", "Steal the moon", "no")))
    prompts, used = apply(tmp_path, AttackName.GCG)
    assert [prompt.prompt for prompt in prompts] == ["Paint !!", "Moon !!"]
    assert [prompt.goal for prompt in prompts] == ["Paint the town red.", "Steal the moon"]
    assert (used.made_for, used.licence) == ("m-7b", "MIT")


def test_prompts_made_for_several_models_want_one_named(tmp_path: Path) -> None:
    rows = [row("", "Steal the moon", f"for {model}", model) for model in ("m-7b", "n-8b")]
    write(tmp_path, "attacks/autodan.jsonl", jsonl(*rows))
    prompts, used = apply(tmp_path, AttackName.AUTODAN, "n-8b")
    assert ([prompt.prompt for prompt in prompts], used.made_for) == (["for n-8b"], "n-8b")
    with pytest.raises(UnknownAttackModel, match="made for m-7b, n-8b; name one: attack_model"):
        apply(tmp_path, AttackName.AUTODAN)
    with pytest.raises(UnknownAttackModel, match="not made for 'o'; there is m-7b, n-8b"):
        apply(tmp_path, AttackName.AUTODAN, "o")


def test_a_prompt_file_is_checked_line_by_line(tmp_path: Path) -> None:
    write(tmp_path, "attacks/gcg.jsonl", jsonl(row("", "a", "b"), {"goal": "a", "prompt": 3}))
    with pytest.raises(BadSuite, match=r"gcg.jsonl, line 2: there is no text in 'prompt'"):
        apply(tmp_path, AttackName.GCG)


def test_a_suite_without_a_request_that_the_attack_knows_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "attacks/gcg.jsonl", jsonl(row("", "Something else", "b")))
    with pytest.raises(NothingToAttack, match="of the suite's 3 prompts 2 are harmful"):
        apply(tmp_path, AttackName.GCG)


@pytest.mark.parametrize("attack", list(AttackName))
def test_an_attack_that_is_not_here_says_what_to_put_where(tmp_path: Path, attack: AttackName) -> None:
    ending = "jsonl" if attack in MADE_FOR_A_MODEL or attack is AttackName.ICA else "txt"
    with pytest.raises(SuiteUnavailable, match=rf"into attacks/{attack}.{ending}.*ROLEKEEPER_SUITES_DIR"):
        apply(tmp_path, attack)
    with pytest.raises(SuiteUnavailable, match="ROLEKEEPER_SUITES_DIR must name the folder"):
        apply(None, attack)


@pytest.mark.skipif(not (SHARED / JBB).is_file(), reason="JailbreakBench's prompts are not beside this checkout")
def test_the_real_aim_template_holds_the_request_once() -> None:
    prompts, _ = apply(SHARED, AttackName.AIM)
    assert all(prompt.prompt.count(prompt.goal or "?") == 1 for prompt in prompts)
    assert len(prompts[0].prompt) > 1000
