"""`movieapp templates list` and `render`, through the entry point; errors in this process."""

from __future__ import annotations

import email
import json
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from actors.channels.email.render import TEMPLATES
from actors.channels.email.samples import sample, variants
from app.settings import Settings
from cli.main import main
from tests.support.commands import environment, movieapp


def rendered(settings: Settings, *arguments: str) -> str:
    done = movieapp(settings, "templates", "render", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def refused(settings: Settings, *arguments: str, code: int = 1) -> str:
    """Return the last line of an error; for invalid data, the only one."""
    done = CliRunner().invoke(main, ["templates", "render", *arguments], env=environment(settings))
    assert (done.exit_code, done.stdout) == (code, "")
    assert isinstance(done.exception, SystemExit)
    lines = done.stderr.splitlines()
    assert code == 2 or len(lines) == 1
    return lines[-1]


@pytest.fixture
def data(tmp_path: Path) -> Any:
    """Writes an event to a file, and returns its name."""

    def write(content: Any) -> str:
        path = tmp_path / "event.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    return write


def test_list_prints_every_template_with_its_events_and_samples(settings: Settings) -> None:
    done = movieapp(settings, "templates", "list", "--json")
    listed = json.loads(done.stdout)
    assert [row["template"] for row in listed] == list(TEMPLATES)
    assert [row["samples"] for row in listed] == [variants(template) for template in TEMPLATES]
    assert all("en" in row["languages"] for row in listed)
    assert {event for row in listed for event in row["events"]} >= {"booking.refunded", "payment.refund"}
    lines = movieapp(settings, "templates", "list").stdout.splitlines()
    assert lines[0].split("\t") == ["TEMPLATE", "EVENTS", "SAMPLES", "LANGUAGES"]
    assert [line.split("\t")[0] for line in lines[1:]] == list(TEMPLATES)


def test_render_prints_each_part_of_the_mail(settings: Settings) -> None:
    plain = rendered(settings, "payment_success")
    assert plain == rendered(settings, "payment_success", "--text")
    assert "TXN-456789" in plain
    assert "<" not in plain
    page = rendered(settings, "payment_success", "--html")
    assert page.lstrip().lower().startswith("<!doctype html>")
    assert "TXN-456789" in page


def test_eml_is_the_whole_message(settings: Settings, tmp_path: Path) -> None:
    output = tmp_path / "mail.eml"
    assert rendered(settings, "payment_refund", "--eml", "--output", str(output)) == ""
    message = email.message_from_bytes(output.read_bytes(), policy=default)
    assert message["To"] == "jane.doe@example.com"
    assert message["From"].addresses[0].display_name == settings.from_name
    assert "REF-123456" in message["Subject"] + message.get_body(("plain",)).get_content()


def test_data_from_a_file_replaces_the_sample(settings: Settings, data: Any) -> None:
    event = sample("payment_success") | {"transaction_id": "TXN-OWN-1", "cinema_name": None}
    assert "TXN-OWN-1" in rendered(settings, "payment_success", "--data", data(event))


def test_the_locale_option_overrides_the_event(settings: Settings, data: Any) -> None:
    event = sample("payment_success") | {"locale": "en_US"}
    german = rendered(settings, "payment_success", "--data", data(event), "--locale", "de")
    assert "30,00" in german


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"amount": None}, "payment.success: amount: missing data"),
        ({"amount": "lots"}, "amount: must be a number"),
        ({"payment_method": " \n"}, "payment.success: payment_method: must not be blank"),
        ({"currency": "<U>"}, "currency"),
        ({"user_email": None}, "user_email"),
        ({"user_email": "jane\r\nBcc: x@example.com"}, "user_email"),
        ({"event_type": "payment.refused"}, "unknown event_type 'payment.refused'"),
        ({"event_type": 7}, "event_type"),
    ],
)
def test_invalid_data_is_reported_in_one_line_that_names_the_field(
    settings: Settings, data: Any, changes: dict[str, Any], words: str
) -> None:
    line = refused(settings, "payment_success", "--data", data(sample("payment_success") | changes))
    assert line.startswith("Error: ")
    assert words in line


@pytest.mark.parametrize("content", ["", "{", "[]", '"text"', "[" * 100_000, " " * 1_000_001, "\ufeff{}"])
def test_a_file_without_an_event_is_named(settings: Settings, data: Any, content: str) -> None:
    path = data(content)
    assert refused(settings, "payment_success", "--data", path).startswith(f"Error: {path}: ")


def test_an_event_of_another_template_is_refused(settings: Settings, data: Any) -> None:
    line = refused(settings, "payment_success", "--data", data(sample("payment_refund")))
    assert "uses the template payment_refund" in line


def test_wrong_use_lists_the_valid_choices(settings: Settings, tmp_path: Path) -> None:
    line = refused(settings, "layout", code=2)
    assert all(template in line for template in TEMPLATES)
    assert "no-such-file" in refused(
        settings, "payment_success", "--data", str(tmp_path / "no-such-file"), code=2
    )
    assert "Error: " in refused(settings, "payment_success", "--output", str(tmp_path / "none" / "mail.html"))
