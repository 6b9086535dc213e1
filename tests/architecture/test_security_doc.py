"""What docs/security.md says is tested is tested."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def test_every_test_that_it_names_exists() -> None:
    found = NAMED.findall((ROOT / "docs" / "security.md").read_text("utf-8"))
    assert len(found) > 20
    gone = [f"{path}::{name}" for path, name in found if f"\ndef {name}(" not in (ROOT / path).read_text("utf-8")]
    assert gone == []
