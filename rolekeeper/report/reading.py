"""A stored report, read back."""

from __future__ import annotations

from pydantic import ValidationError

from rolekeeper.contracts.report import SafetyReport
from rolekeeper.errors import Conflict


class UnreadableReport(Conflict):
    """The report has another shape than this build knows."""

    code = "unreadable_report"


def read_report(content: bytes) -> SafetyReport:
    """Return the report in `content`, JSON. Raises UnreadableReport, which says what to do."""
    try:
        return SafetyReport.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        place = "/".join(str(part) for part in first["loc"]) or "the whole"
        raise UnreadableReport(
            f"this is no safety report that this build of Rolekeeper can show ({place}: {first['msg']}): it was made "
            "by an older or a newer one. Run the job again for a new report, or read the JSON itself"
        ) from error
