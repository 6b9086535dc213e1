"""The commands in README.md, for tests that hold it to its word."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def readme() -> str:
    """The text of README.md."""
    return (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    """The fenced code blocks of a language, word for word."""
    return [code for found, code in BLOCK.findall(text) if found == language]


def curl_session() -> str:
    """The session from a character to an adapter. It is what README.md has in `bash`; the rest is in `sh`."""
    return "\n".join(code_blocks(readme(), "bash"))
