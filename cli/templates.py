"""`movieapp templates`: list and render mail templates without sending anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cli.listing import Listing, listing_options
from cli.options import command_settings, template_argument


@click.group()
def templates() -> None:
    """List and render email templates.

    \b
    Example:
        movieapp templates render payment_success --html --output mail.html
    """


@templates.command("list")
@listing_options(bounded=False, has_times=False)
def list_all(listing: Listing) -> None:
    """List the templates, their events, samples, and languages.

    \b
    Example:
        movieapp templates list --json
    """
    from actors.channels.email.render import TEMPLATES
    from actors.channels.email.samples import variants
    from app.events.catalog import DELIVERED
    from devtools.gallery.preview import languages

    found = [
        {
            "template": template,
            "events": [event for event, kind in DELIVERED.items() if kind.template == template],
            "samples": variants(template),
            "languages": languages(),
        }
        for template in TEMPLATES
    ]
    columns = ("template", "events", "samples", "languages")
    listing.show(found, {name.upper(): name for name in columns})


@templates.command()
@template_argument
@click.option(
    "--data",
    type=click.File("rb"),
    help="Read the event as JSON from this file, or from standard input if FILENAME is -.  [default: a full "
    "sample]",
)
@click.option("--locale", metavar="TAG", help="Render in this locale, such as de or en-GB.")
@click.option(
    "--text", "part", flag_value="text", default="text", help="Print the plain-text part.  [default]"
)
@click.option("--html", "part", flag_value="html", help="Print the HTML part.")
@click.option(
    "--eml", "part", flag_value="eml", help="Print the whole email in the .eml format of email clients."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="Write to this file.  [default: standard output]",
)
def render(
    template: str,
    data: Any,
    locale: str | None,
    part: str,
    output: Path | None,
) -> None:
    """Print the email that a worker would render from TEMPLATE.

    `templates list` shows the names of the templates.

    \b
    Example:
        movieapp templates render payment_success --eml --output mail.eml
    """
    from actors.channels.email.errors import RenderError
    from actors.channels.email.render import TEMPLATES
    from devtools.gallery.preview import Previewer

    if template not in TEMPLATES:
        raise click.UsageError(f"Unknown template {template}. Use one of {', '.join(TEMPLATES)}.")
    event = _event(template, data)
    if locale:
        event["locale"] = locale
    try:
        mail = Previewer(command_settings()).compose(template, event)
    except RenderError as error:
        raise click.ClickException(str(error)) from None
    content = mail.as_bytes() if part == "eml" else (mail.body if part == "text" else mail.html).encode()
    if output:
        try:
            output.write_bytes(content)
        except OSError as error:
            raise click.ClickException(f"{output}: {error.strerror}") from None
    else:
        click.echo(content, nl=False)


@templates.command()
@click.option(
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("build/gallery"),
    show_default=True,
    help="Write to this directory, and replace an existing gallery there.",
)
@click.option(
    "--screenshots", is_flag=True, help="Add a screenshot of each email. Requires Chromium and Playwright."
)
def gallery(output: Path, screenshots: bool) -> None:
    """Write a static website that shows every template and sample.

    \b
    Example:
        movieapp templates gallery --output build/gallery
    """
    from actors.channels.email.errors import RenderError
    from devtools.gallery.browser import NoBrowser
    from devtools.gallery.export import ForeignFolder, export

    try:
        files = export(command_settings(), output, screenshots=screenshots)
    except (RenderError, ForeignFolder, NoBrowser) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    click.echo(f"Wrote {files} files. To see the gallery, open {output / 'index.html'}.")


def _event(template: str, data: Any) -> dict[str, Any]:
    """Return the event in the file `data`, validated as the worker does it; else the full sample."""
    from actors.channels.email.samples import sample
    from app.events.catalog import CATALOG
    from app.events.decode import InvalidEvent
    from cli.event_file import read_event

    if data is None:
        return sample(template)
    try:
        event = read_event(data)
    except InvalidEvent as error:
        raise click.ClickException(f"{data.name}: {error}") from None
    kind = CATALOG[event["event_type"]]
    if kind.template != template:
        used = f"uses the template {kind.template}, not {template}" if kind.template else "has no template"
        raise click.ClickException(f"{data.name}: {event['event_type']} {used}")
    return event
