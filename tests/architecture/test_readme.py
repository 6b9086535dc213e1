"""README.md names only commands, options, targets and files that exist."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
from typer.testing import CliRunner

from rolekeeper.client.cli import app
from tests.readme import ROOT, code_blocks, curl_session, readme

PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")


def commands() -> list[list[str]]:
    """Every `rolekeeper` command line of the README, as words."""
    lines = "\n".join(code_blocks(readme(), "sh")).splitlines()
    return [words[1:] for words in (shlex.split(line, comments=True) for line in lines) if words[:1] == ["rolekeeper"]]


@pytest.mark.parametrize("words", commands(), ids=lambda words: words[0])
def test_every_command_and_option_exists(words: list[str]) -> None:
    shown = CliRunner().invoke(app, [words[0], "--help"], env={"COLUMNS": "200"})
    assert shown.exit_code == 0
    assert [word for word in words if word.startswith("--") and word not in shown.stdout] == []


def test_every_command_is_shown() -> None:
    listed = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).stdout
    names = {str(command.callback.__name__) for command in app.registered_commands if command.callback is not None}
    assert {name for name in names if f"rolekeeper {name}" in readme()} == names
    assert all(name in listed for name in names)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert [link for link in links if not (ROOT / link).exists()] == []


@pytest.mark.parametrize("page", PAGES)
def test_every_make_target_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)\b", "\n".join(quoted(text)))) <= targets


def test_the_curl_session_is_sound_shell() -> None:
    done = subprocess.run(["bash", "-n"], input=curl_session(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert curl_session().count("curl ") == 1


def quoted(text: str) -> list[str]:
    """What stands in backquotes or in code blocks."""
    return re.findall(r"`([^`\n]+)`", text) + code_blocks(text, "sh")
