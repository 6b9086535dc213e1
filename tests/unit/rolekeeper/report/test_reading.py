from __future__ import annotations

import json

import pytest

from rolekeeper.report.reading import UnreadableReport, read_report
from tests.unit.rolekeeper.reports import make_report


def test_a_report_is_read_back() -> None:
    assert read_report(make_report().model_dump_json().encode()) == make_report()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"object":"safety_report","job":"job_1"}', b"\xff"])
def test_another_shape_says_what_to_do(content: bytes) -> None:
    with pytest.raises(UnreadableReport, match="Run the job again"):
        read_report(content)


def test_a_report_of_an_older_build_has_no_role_results() -> None:
    stored = json.loads(make_report().model_dump_json())
    del stored["role"]
    assert read_report(json.dumps(stored).encode()).role is None
