"""Apple Wallet's passes and Google Wallet's links, as a device and Google would check them."""

from __future__ import annotations

import base64
import email
import hashlib
import json
import re
import subprocess
import sys
import zipfile
from datetime import UTC, datetime, timedelta
from email.policy import default
from io import BytesIO
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from actors.channels.email.channel import renderer_of
from actors.channels.email.compose import compose
from actors.channels.email.png import png
from actors.channels.email.render import Rendered
from actors.channels.email.samples import sample, variants
from actors.channels.email.wallet.google import MAX_JWT_LENGTH, SAVE_URL
from actors.channels.email.wallet.labels import LABELS
from app.languages import Languages
from app.settings import Settings
from tests.support.wallets import PASS_TYPE_ID, TEAM_ID, google_settings, make_chain, public_pem

SCHEMAS = Path(__file__).parents[2] / "support" / "schemas"
APPLE, GOOGLE = (
    jsonschema.Draft202012Validator(json.loads((SCHEMAS / name).read_text()))
    for name in ("apple_pass.json", "google_save_claims.json")
)
BOOKINGS = [
    (template, variant)
    for template in ("booking_confirmation", "booking_update")
    for variant in variants(template)
]
CODES = [f"TKT-{number:04}-9f8e7d6c5b4a" for number in range(1, 13)]


def settings(**changes: Any) -> Settings:
    return Settings(_env_file=None, **(make_chain().settings | google_settings() | changes))


@pytest.fixture(scope="module")
def mails() -> Any:
    return renderer_of(settings())


def with_seats(count: int, **changes: Any) -> dict[str, Any]:
    tickets = [{"seat": f"B{number}", "code": code} for number, code in enumerate(CODES[:count], 1)]
    seats = [ticket["seat"] for ticket in tickets]
    return sample("booking_confirmation") | {"seats": seats, "tickets": tickets} | changes


def archive(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(BytesIO(data)) as pack:
        assert pack.testzip() is None
        return {name: pack.read(name) for name in pack.namelist()}


def contents(mail: Rendered) -> list[dict[str, Any]]:
    return [json.loads(archive(data)["pass.json"]) for data in mail.passes.values()]


def jwts(mail: Rendered) -> list[str]:
    return list(dict.fromkeys(re.findall(re.escape(SAVE_URL) + r"([\w.-]+)", mail.text)))


def claims(jwt: str) -> Any:
    payload = jwt.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


@pytest.mark.parametrize(("template", "variant"), BOOKINGS)
def test_every_sample_gives_passes_of_the_documented_format(mails: Any, template: str, variant: str) -> None:
    mail = mails.render(template, sample(template, variant))
    assert len(mail.passes) == min(10, len(sample(template, variant).get("tickets") or [1]))
    for content in contents(mail):
        APPLE.validate(content)
    links = jwts(mail)
    assert links
    for jwt in links:
        assert len(jwt) <= MAX_JWT_LENGTH
        GOOGLE.validate(claims(jwt))


def test_the_manifest_names_every_file_and_openssl_trusts_its_signature(mails: Any, tmp_path: Path) -> None:
    (data,) = mails.render("booking_confirmation", sample("booking_confirmation")).passes.values()
    files = archive(data)
    manifest = json.loads(files["manifest.json"])
    assert manifest == {
        name: hashlib.sha1(content).hexdigest()  # noqa: S324 - Apple's format
        for name, content in files.items()
        if name not in ("manifest.json", "signature")
    }
    assert {"icon.png", "icon@2x.png", "icon@3x.png", "pass.json", "de.lproj/pass.strings"} <= manifest.keys()

    (tmp_path / "root.pem").write_text(make_chain().root)
    for name in ("manifest.json", "signature"):
        (tmp_path / name).write_bytes(files[name])
    trusted = ["-inform", "DER", "-in", "signature", "-content", "manifest.json", "-CAfile", "root.pem"]
    for command in (["smime", "-verify"], ["cms", "-verify"]):
        # A device trusts only Apple's root, so the signature must contain the intermediate certificate.
        subprocess.run(
            ["openssl", *command, *trusted, "-purpose", "any", "-binary", "-out", "out"],
            cwd=tmp_path,
            check=True,
            capture_output=True,
        )
    (tmp_path / "manifest.json").write_bytes(files["manifest.json"] + b" ")
    changed = subprocess.run(
        ["openssl", "smime", "-verify", *trusted, "-purpose", "any", "-binary"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert changed.returncode != 0
    shown = subprocess.run(
        ["openssl", "cms", "-cmsout", "-print", "-noout", "-inform", "DER", "-in", "signature"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "signingTime" in shown
    assert "eContent: <ABSENT>" in shown  # detached


def test_a_pass_contains_the_fields_of_the_ticket(mails: Any) -> None:
    (content,) = contents(mails.render("booking_confirmation", with_seats(1)))
    assert (content["passTypeIdentifier"], content["teamIdentifier"]) == (PASS_TYPE_ID, TEAM_ID)
    assert content["relevantDate"] == "2026-12-15T20:00:00-05:00"
    assert content["expirationDate"] == "2026-12-15T21:44:00-05:00"
    assert content["barcodes"][0]["message"] == CODES[0]
    assert content["backgroundColor"] == "rgb(63, 61, 148)"
    shown = {field["key"]: field["value"] for group in content["eventTicket"].values() for field in group}
    assert shown == {
        "seat": "B1",
        "film": "The Third Man",
        "showtime": "2026-12-15T20:00:00-05:00",
        "cinema": "Grand Palace Cinema",
        "screen": "Screen 4",
        "booking": "BOOK-789012",
        "address": "12 Canal Street, New York, NY 10013",
        "contact": "tickets@movieapp.example.com",
    }


def test_a_free_text_showtime_is_shown_unchanged(mails: Any) -> None:
    mail = mails.render("booking_confirmation", with_seats(1, showtime="Friday, after the news"))
    (content,) = contents(mail)
    assert not {"relevantDate", "relevantDates", "expirationDate"} & content.keys()
    (showtime,) = content["eventTicket"]["secondaryFields"]
    assert (showtime["value"], "dateStyle" in showtime) == ("Friday, after the news", False)
    assert "dateTime" not in claims(jwts(mail)[0])["payload"]["eventTicketClasses"][0]


@pytest.mark.parametrize(("count", "passes"), [(1, 1), (4, 4), (10, 10), (12, 10)])
def test_each_seat_has_a_pass_up_to_ten(mails: Any, count: int, passes: int) -> None:
    mail = mails.render("booking_confirmation", with_seats(count))
    found = contents(mail)
    assert [content["barcodes"][0]["message"] for content in found] == CODES[:passes]
    assert len({content["serialNumber"] for content in found}) == passes
    assert len({content["groupingIdentifier"] for content in found}) == 1
    saved = [each for jwt in jwts(mail) for each in claims(jwt)["payload"]["eventTicketObjects"]]
    assert [each["barcode"]["value"] for each in saved] == CODES[:passes]
    assert len(mail.html.encode()) < 60_000


def test_ten_passes_keep_the_mail_under_a_megabyte_with_the_largest_logo(tmp_path: Path) -> None:
    logo = tmp_path / "logo.png"
    small = png(["01", "10"], 50)
    logo.write_bytes(small + bytes(30_000 - len(small)))
    mail = renderer_of(settings(wallet_logo_file=logo)).render("booking_confirmation", with_seats(10))
    sent = compose(
        mail,
        recipient="jane.doe@example.com",
        sender=("MovieApp", "tickets@example.com"),
        message_id="<abc@example.com>",
        date=datetime(2026, 12, 1, tzinfo=UTC),
    )
    assert len(sent.as_bytes()) < 1_000_000
    assert "logo@2x.png" in archive(mail.passes["ticket-1.pkpass"])
    assert all("logoText" not in content for content in contents(mail))


def test_labels_are_translated_into_every_language_of_the_mails(mails: Any) -> None:
    (data,) = mails.render("booking_confirmation", sample("booking_confirmation")).passes.values()
    files = archive(data)
    for code in Languages().all:
        strings = files[f"{code.replace('_', '-')}.lproj/pass.strings"].decode()
        keys = re.findall(r'^"((?:[^"\\]|\\.)*)" = "(?:[^"\\]|\\.)+";$', strings, re.MULTILINE)
        assert keys == [*LABELS, "Seat"]
        assert strings.count("\n") == len(keys)
    assert '"Showtime" = "Vorstellung";' in files["de.lproj/pass.strings"].decode()
    content = json.loads(files["pass.json"])
    labels = {field["label"] for group in content["eventTicket"].values() for field in group}
    assert labels | {content["description"]} <= {*LABELS, "Seat"}


def test_the_passes_are_attachments_beside_the_calendar_file(mails: Any) -> None:
    sent = compose(
        mails.render("booking_confirmation", with_seats(2)),
        recipient="jane.doe@example.com",
        sender=("MovieApp", "tickets@example.com"),
        message_id="<abc@example.com>",
        date=datetime(2026, 12, 1, tzinfo=UTC),
    )
    message: Any = email.message_from_bytes(sent.as_bytes(), policy=default)
    attached = [(part.get_filename(), part.get_content_type()) for part in message.iter_attachments()]
    assert attached == [
        ("ticket-1.pkpass", "application/vnd.apple.pkpass"),
        ("ticket-2.pkpass", "application/vnd.apple.pkpass"),
        ("booking.ics", "text/calendar"),
    ]
    first = next(message.iter_attachments())
    assert json.loads(archive(first.get_content())["pass.json"])["barcodes"][0]["message"] == CODES[0]


def test_an_update_replaces_passes_and_voids_those_of_lost_seats(mails: Any) -> None:
    confirmed = with_seats(3)
    before = contents(mails.render("booking_confirmation", confirmed))
    moved = [{"seat": "C7", "code": "NEW-CODE-1"}, {"seat": "C8", "code": "NEW-CODE-2"}]
    updated = sample("booking_update") | {"booking_id": confirmed["booking_id"], "tickets": moved}
    after = contents(mails.render("booking_update", updated, confirmed))
    assert [each["serialNumber"] for each in after] == [each["serialNumber"] for each in before]
    assert [each.get("voided", False) for each in after] == [False, False, True]
    assert [each["eventTicket"]["headerFields"][0]["value"] for each in after] == ["C7", "C8", "B3"]
    assert "barcodes" not in after[2]


def test_an_update_links_to_new_google_wallet_tickets(mails: Any) -> None:
    confirmed = with_seats(1)
    moved = confirmed | {"showtime": "2026-12-15T21:30:00-05:00"}
    first, second = (
        claims(jwts(mails.render("booking_confirmation", event))[0])["payload"]
        for event in (confirmed, moved)
    )
    assert first["eventTicketClasses"][0]["id"] != second["eventTicketClasses"][0]["id"]
    assert first["eventTicketObjects"][0]["id"] != second["eventTicketObjects"][0]["id"]


def test_a_cancellation_voids_the_issued_passes(mails: Any) -> None:
    confirmed = with_seats(2)
    cancelled = sample("booking_cancellation") | {"booking_id": confirmed["booking_id"]}
    mail = mails.render("booking_cancellation", cancelled, confirmed)
    found = contents(mail)
    for content in found:
        APPLE.validate(content)
    before = contents(mails.render("booking_confirmation", confirmed))
    assert [each["serialNumber"] for each in found] == [each["serialNumber"] for each in before]
    assert all(each["voided"] for each in found)
    assert not any(code in json.dumps(found) for code in CODES)
    assert "Open the attached files on your iPhone" in mail.text
    assert not jwts(mail)
    assert not mails.render("booking_cancellation", cancelled).passes


def test_google_can_check_the_signature_of_a_link(mails: Any, tmp_path: Path) -> None:
    (jwt,) = jwts(mails.render("booking_confirmation", with_seats(1)))
    signed, _, signature = jwt.rpartition(".")
    google = settings().google_wallet
    assert google
    (tmp_path / "key.pem").write_bytes(public_pem(google.key))
    (tmp_path / "signed").write_text(signed)
    (tmp_path / "signature").write_bytes(base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4)))
    subprocess.run(
        ["openssl", "dgst", "-sha256", "-verify", "key.pem", "-signature", "signature", "signed"],
        cwd=tmp_path,
        check=True,
        capture_output=True,
    )


def test_details_are_omitted_to_respect_googles_length_limit() -> None:
    long = settings(brand_logo_url="https://cdn.example.com/" + "x" * 600 + ".png")
    event = with_seats(2, movie_title="終わりなき夜に生まれつく" * 20, cinema_address="東京都" * 90)
    mail = renderer_of(long).render("booking_confirmation", event)
    found = jwts(mail)
    assert all(len(jwt) <= MAX_JWT_LENGTH for jwt in found)
    assert sum(len(claims(jwt)["payload"]["eventTicketObjects"]) for jwt in found) == 2
    assert all("logo" not in claims(jwt)["payload"]["eventTicketClasses"][0] for jwt in found)


def test_without_settings_mails_are_unchanged(renderer: Any) -> None:
    mail = renderer.render("booking_confirmation", with_seats(2))
    assert not mail.passes
    assert "Wallet" not in mail.html + mail.text


def test_expired_passes_are_not_attached() -> None:
    expired = renderer_of(settings(**make_chain(days=-1).settings))
    mail = expired.render("booking_confirmation", with_seats(1))
    assert not mail.passes
    assert "Apple Wallet" not in mail.text
    assert jwts(mail)


def test_two_deployments_with_one_certificate_make_different_passes(mails: Any) -> None:
    other = renderer_of(settings(namespace="other"))
    event = with_seats(1)
    ours, theirs = (contents(each.render("booking_confirmation", event))[0] for each in (mails, other))
    assert ours["serialNumber"] != theirs["serialNumber"]


def test_relevance_lasts_at_most_a_day(mails: Any) -> None:
    (content,) = contents(mails.render("booking_confirmation", with_seats(1, duration_minutes=5_000)))
    (interval,) = content["relevantDates"]
    begin, end = (datetime.fromisoformat(interval[name]) for name in ("startDate", "endDate"))
    assert end - begin == timedelta(hours=24)


def test_relevance_of_a_show_on_the_last_day_of_the_calendar_ends_with_the_show(mails: Any) -> None:
    last = with_seats(1, showtime="9999-12-31T10:00:00+00:00", timezone="UTC", duration_minutes=60)
    (content,) = contents(mails.render("booking_confirmation", last))
    (interval,) = content["relevantDates"]
    assert interval["endDate"] == content["expirationDate"] == "9999-12-31T11:00:00+00:00"


def test_mails_do_not_load_cryptography_if_wallets_are_off() -> None:
    code = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from actors.channels.email.channel import renderer_of\n"
        "from actors.channels.email.samples import sample\n"
        "from app.settings import Settings\n"
        "mails = renderer_of(Settings(_env_file=None))\n"
        "print(mails.render('payment_success', sample('payment_success')).subject)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.startswith("Payment received")
