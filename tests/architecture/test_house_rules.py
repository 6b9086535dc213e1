"""The house rules hold in this repository, and each of them bites."""

from __future__ import annotations

import ast
from pathlib import Path, PurePosixPath

import pytest

from tools.house_rules import Source, check, main, nesting, percentile_90

ROOT = Path(__file__).resolve().parents[2]

LONG = "def f() -> None:\n" + "    x = 1\n" * 60
DEEP = """
def f(x: list[int]) -> None:
    for a in x:
        while a:
            if a:
                try:
                    g(a)
                except OSError:
                    return
"""
ELIF = """
def f(x: int) -> int:
    if x == 1:
        return 1
    elif x == 2:
        return 2
    elif x == 3:
        with g():
            return 3
    elif x == 4:
        return 4
    return 5
"""


def findings(text: str, path: str = "rolekeeper/jobs/thing.py") -> list[str]:
    """What the rules say of a file with this text."""
    return check(Source(PurePosixPath(path), text, ast.parse(text)))


def test_the_house_keeps_its_rules(capsys: pytest.CaptureFixture[str]) -> None:
    exit_code = main(ROOT)
    assert exit_code == 0, capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (LONG, "f has 61 lines; at most 60"),
        ("x = 1\n" * 301, "301 lines in a file"),
        (DEEP, "f nests 4 blocks; at most 3"),
        ("def f(a, b, c, d, *, e, g, h) -> None: ...", "f has 7 parameters; at most 6"),
        ("def f(): ...", "f does not say what it returns"),
        ("engine = create_engine('x')", "create_engine() is called when the module is imported"),
        ("print_all()", "something is done when the module is imported"),
        ("if FAST:\n    x = 1", "something is done when the module is imported"),
        ("def f() -> None:\n    print(1)", "print() is for the edges"),
        ("def f(session: S) -> None:\n    session.commit()", "commit() is called in rolekeeper/jobs/db.py only"),
        ("def f() -> str:\n    return os.environ['HOME']", "the environment is read in settings.py only"),
        ("def f() -> str:\n    return os.getenv('HOME')", "the environment is read in settings.py only"),
        ("def f() -> None:\n    try:\n        g()\n    except Exception:\n        h()", "everything is caught here"),
        ("def f() -> None:\n    try:\n        g()\n    except:\n        h()", "everything is caught here"),
        (
            "def f() -> None:\n    try:\n        g()\n    except (A, BaseException):\n        h()",
            "everything is caught",
        ),
        ("def f() -> R:\n    return R(status_code=404)", "an HTTP status is chosen outside rolekeeper/web"),
        ("def f(r: R) -> bool:\n    return r.status_code == 404", "name the HTTP status"),
    ],
)
def test_a_break_is_found(text: str, words: str) -> None:
    found = findings(text)
    assert len(found) == 1
    assert words in found[0]


@pytest.mark.parametrize("path", ["rolekeeper/utils.py", "services/common/thing.py", "tests/unit/helpers.py"])
def test_a_name_that_says_nothing_is_found(path: str) -> None:
    assert "says nothing" in findings("", path)[0]


@pytest.mark.parametrize(
    "text",
    [
        ELIF,
        "def f(self, a, b, c, d, e, g) -> None: ...",
        "NAMES = frozenset({'a'})\nif TYPE_CHECKING:\n    import x\nif __name__ == '__main__':\n    main()",
        "LATER = lambda: create_engine('x')",
        "def f() -> None:\n    try:\n        g()\n    except BaseException:\n        h()\n        raise",
        "def f(r: R) -> bool:\n    return r.status_code == HTTPStatus.NOT_FOUND",
    ],
)
def test_good_code_passes(text: str) -> None:
    assert findings(text) == []


def test_a_rule_does_not_hold_where_it_is_listed() -> None:
    assert findings("def f(s: S) -> None:\n    s.commit()", "rolekeeper/jobs/db.py") == []
    assert findings("def f() -> str:\n    return os.environ['X']", "gateway/settings.py") == []
    assert findings("def f() -> R:\n    return R(status_code=201)", "gateway/routes/files.py") == []


def test_numbers() -> None:
    (function,) = ast.parse(ELIF).body
    assert isinstance(function, ast.FunctionDef)
    assert nesting(function.body[0]) == 1
    assert percentile_90(list(range(1, 11))) == 9
    assert percentile_90([7]) == 7
