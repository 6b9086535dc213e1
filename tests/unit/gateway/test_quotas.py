from __future__ import annotations

from pathlib import Path

import pytest

from gateway.quotas import BadQuotas, Quota, Quotas, load_quotas


def write(folder: Path, text: str) -> Path:
    path = folder / "quotas.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_a_file_all_have_the_default() -> None:
    assert load_quotas(None).of("anybody") == Quota()


def test_an_owner_has_what_its_table_says_and_else_the_default(tmp_path: Path) -> None:
    quotas = load_quotas(
        write(
            tmp_path,
            '[default]\nmax_answers = 10\nmax_learned = 5\n[owners."acme"]\nmax_answers = 99\njudges = ["paid"]\n',
        )
    )
    assert quotas == Quotas(
        Quota(max_answers=10, max_learned=5), {"acme": Quota(max_answers=99, max_learned=5, judges=("paid",))}
    )
    assert quotas.of("acme").max_answers == 99
    assert quotas.of("else").max_answers == 10


@pytest.mark.parametrize(
    "text",
    [
        "[default",
        "[defaults]\nmax_answers = 1",
        "[default]\nmax_answer = 1",
        "[default]\nmax_answers = 0",
        "default = 3",
        "[owners]\nacme = 3",
        "owners = [1]",
    ],
)
def test_a_file_that_says_something_else_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadQuotas, match=r"quotas\.toml"):
        load_quotas(write(tmp_path, text))


def test_an_absent_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadQuotas, match="No such file"):
        load_quotas(tmp_path / "quotas.toml")
