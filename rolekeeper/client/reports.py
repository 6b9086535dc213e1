"""Where a safety report goes: the terminal, a script, or a page in a file."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.console import Console

from rolekeeper.client.report_tables import report_tables
from rolekeeper.client.session import exit_codes
from rolekeeper.contracts.report import SafetyReport
from rolekeeper.report.reading import read_report
from rolekeeper.report.render import render_page


def show_stored(source: Path, html: Path | None, as_json: bool) -> None:
    """Show the report in the file `source`; nothing is asked of a server."""
    with exit_codes():
        show(read_report(source.read_bytes()), html, as_json)


def show(report: SafetyReport, html: Path | None, as_json: bool) -> None:
    """Write the page to `html` and print its path, or print the report."""
    if html is not None:
        html.write_text(render_page(report), encoding="utf-8")
    if as_json:
        typer.echo(report.model_dump_json())
    elif html is not None:
        typer.echo(str(html))
    else:
        Console().print(report_tables(report))
