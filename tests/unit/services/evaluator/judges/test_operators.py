"""The operator's file of judges: read whole, or turned away with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.evaluator.judges.operators import ClassifierEntry, LlmEntry, OperatorFile, read_operator_file
from services.evaluator.judges.protocol import BadJudges

LLM = """
[judges.oracle]
kind = "llm"
url = "https://judge.example/v1"
model = "a-model"
key_variable = "ORACLE_KEY"
max_calls_a_day = 1000
max_tokens_a_day = 1000000
"""
CLASSIFIER = """
[judges.action]
kind = "classifier"
source = "folder"
location = "models/action"
reads = "answer"
labels = { LABEL_0 = "refused", LABEL_5 = "complied" }
"""


def load(tmp_path: Path, text: str) -> OperatorFile:
    file = tmp_path / "judges.toml"
    file.write_text(text)
    return read_operator_file(file, ["local"])


def test_judges_are_read_with_their_defaults(tmp_path: Path) -> None:
    entries = load(tmp_path, LLM + CLASSIFIER).entries
    oracle, action = entries["oracle"], entries["action"]
    assert isinstance(oracle, LlmEntry)
    assert isinstance(action, ClassifierEntry)
    assert (oracle.answer_format, oracle.tries, oracle.concurrency) == ("json_schema", 4, 4)
    assert action.location == str(tmp_path / "models" / "action")


def test_calibrations_are_found_beside_the_file_and_need_no_own_judge(tmp_path: Path) -> None:
    assert load(tmp_path, '[calibrations]\nlocal = "ours.json"').calibrations == {"local": tmp_path / "ours.json"}
    assert load(tmp_path, LLM + '[calibrations]\noracle = "o.json"').calibrations == {"oracle": tmp_path / "o.json"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("judges = [", "can't be read"),
        ("", r"no judge is listed; add a \[judges.NAME\] table"),
        ("judges = 1", "judges must be"),
        ("calibrations = 1", "calibrations must be lines"),
        ("[calibrations]\nlocal = 1", "calibrations must be lines"),
        ('[calibrations]\noracle = "a.json"', "there is no judge 'oracle'; known are local"),
        (LLM.replace("oracle", "local"), "'local' is one of Rolekeeper's own judges"),
        (LLM.replace("oracle", "Oracle"), "judge 'Oracle' is not well formed"),
        (LLM.replace('"llm"', '"oracle"'), "'llm', 'classifier'"),
        (LLM.replace("max_calls_a_day = 1000\n", ""), "max_calls_a_day: Field required"),
        (LLM + 'key = "s3cret"\n', "key: Extra inputs are not permitted"),
        (LLM.replace("https", "ftp"), "url: String should match"),
        (LLM.replace("ORACLE_KEY", "sk-s3cret"), "key_variable: String should match"),
        (CLASSIFIER.replace('"folder"', '"hub"'), "a hub model needs `revision`"),
        (CLASSIFIER.replace('"refused"', '"no"'), "labels.LABEL_0: Input should be"),
    ],
)
def test_what_is_wrong_is_said_without_repeating_a_secret(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(BadJudges, match=reason) as failure:
        load(tmp_path, text)
    assert "judges.toml" in failure.value.message
    assert "s3cret" not in str(failure.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadJudges, match=r"nowhere\.toml"):
        read_operator_file(tmp_path / "nowhere.toml", [])
