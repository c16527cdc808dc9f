"""`movieapp check`: check every dependency, and say what to do about those that fail."""

from __future__ import annotations

from dataclasses import asdict

import click

from cli.options import connect
from cli.output import json_option, print_json, table


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Check the settings, every server, and overdue work.

    The command changes no data and sends no messages. Exit code: 0 if no check fails, even with warnings; 1
    if a check fails.

    \b
    Examples:
        movieapp check
        movieapp check --json | jq '.[] | select(.level != "ok")'
    """
    settings = connect()
    from app.operations.health import Level, run_probes
    from cli.checks import CHECKS

    findings = run_probes(CHECKS, settings)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = ((each.check, each.level, each.what, each.advice) for each in findings)
        table(("check", "", "", "what to do"), rows)
    if any(finding.level is Level.BAD for finding in findings):
        raise click.exceptions.Exit(1)
