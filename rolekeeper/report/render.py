"""The safety report as one HTML page: no network, no script but the few lines in it, every text escaped."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from rolekeeper.contracts.report import SafetyReport
from rolekeeper.report.answers import answer_groups
from rolekeeper.report.charts import bar_chart, loss_plane, score_plane
from rolekeeper.report.sentences import (
    all_measures,
    cautions,
    harmful_rule,
    percent,
    points,
    three_questions,
    tone_of,
    what_was_learned,
)


def render_page(report: SafetyReport) -> str:
    """Return the page. It is complete in itself and the same report always gives the same page."""
    training = report.training
    has_losses = bool(training.losses or training.validation_losses)
    return (
        _environment()
        .get_template("report.html")
        .render(
            report=report,
            questions=three_questions(report),
            cautions=tuple(cautions(report)),
            measures=all_measures(report),
            harmful_rule=harmful_rule(report.method),
            learned=what_was_learned(report),
            groups=answer_groups(report),
            scores=score_plane(report.points) if report.points else None,
            losses=loss_plane(training.losses, training.validation_losses, training.num_steps) if has_losses else None,
            policy=content_security_policy(),
        )
    )


@lru_cache(maxsize=1)
def content_security_policy() -> str:
    """Return what the page may do: use its own style and its own script, by their digests, and nothing else."""
    style, script = (_digest(_environment().get_template(name).render()) for name in ("report.css", "report.js"))
    return f"default-src 'none'; style-src '{style}'; script-src '{script}'; base-uri 'none'; form-action 'none'"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("rolekeeper.report", "page"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=percent, points=points, tone=tone_of)
    environment.globals.update(bar_chart=bar_chart)
    return environment


def _digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
