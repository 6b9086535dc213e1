"""The comparison of safety by method: files go where they are needed, and a line says what the report says."""

from __future__ import annotations

from benchmarks.safety import figures_of, with_files
from rolekeeper.contracts.jobs import Method
from tests.unit.rolekeeper.reports import make_report

UPLOADED = {"safe_file": "file_safe", "harmful_file": "file_harmful"}


def test_a_method_gets_the_files_that_it_needs_and_no_other() -> None:
    assert with_files(Method(), UPLOADED) == Method()
    assert with_files(Method(name="seal"), UPLOADED).options.safe_file == "file_safe"
    assert with_files(Method(name="seal"), UPLOADED).options.harmful_file is None
    assert with_files(Method(name="bi_selection"), UPLOADED).options.harmful_file == "file_harmful"


def test_a_line_has_every_measure_of_the_report() -> None:
    report = make_report()
    figures = figures_of(report, 12.0)
    rate = next(measure for measure in report.measures if measure.name == "refusal_rate")
    assert figures["refusal_rate"] == {
        "base": round(rate.base.value, 4),
        "tuned": round(rate.tuned.value, 4),
        "low": round(rate.difference.low, 4),
        "high": round(rate.difference.high, 4),
        "num_samples": rate.tuned.num_samples,
    }
    assert figures["adapter_sha256"] == report.adapter_sha256
