"""`movieapp check`: is everything there, and as it should be?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import partial
from itertools import chain

import click

from cli.options import connect
from cli.output import json_option, print_json, table


@click.command()
@json_option
def check(as_json: bool) -> None:
    """Check the settings, every server this depends on, and what should not be lying around.

    Changes nothing and sends nothing. Exit code: 0 if all is well or worth a warning at most, 1 if something
    is bad.

    \b
    Examples:
        movieapp check
        movieapp check --json | jq '.[] | select(.level != "ok")'
    """
    settings = connect()
    from cli.checks import CHECKS, look

    with ThreadPoolExecutor(len(CHECKS)) as pool:
        findings = list(chain.from_iterable(pool.map(partial(look, settings=settings), CHECKS)))
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        rows = ((each.check, each.level, each.what, each.advice) for each in findings)
        table(("check", "", "", "what to do"), rows)
    if any(finding.level == "bad" for finding in findings):
        raise click.exceptions.Exit(1)
