"""One event and one template made into the parts of a mail: Jinja, then MJML, then HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from typing import Any

import mrml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, UndefinedError, select_autoescape

from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import RenderError, TemplateVariableMissing, Unpresentable
from actors.channels.email.invitation import Invitation, invitation
from actors.channels.email.languages import Language, Languages
from actors.channels.email.qr import qr_png
from actors.channels.email.reservation import reservation
from actors.channels.email.view import view
from actors.channels.email.wording import failure_of
from app.text import one_line

#: Each is a pair of files in `email_templates`: `.mjml` for the page; `.txt` for the plain text, the subject
#: and the preheader. These two are parts of all of them.
_PARTS = {"layout", "macros"}
_PAGES = (file.name for file in files("email_templates").iterdir() if file.name.endswith(".mjml"))
TEMPLATES = tuple(sorted({page.removesuffix(".mjml") for page in _PAGES} - _PARTS))

#: Templates that show codes for the door, and for how many seats: ten take 31 KB, and Gmail cuts at 102.
_WITH_CODES = ("booking_confirmation", "booking_update")
MAX_TICKETS = 10

#: Characters. Longer ones are cut by every client; a preheader is what the list shows after the subject.
_LONGEST_SUBJECT = 140
_LONGEST_PREHEADER = 130


@dataclass(frozen=True)
class Brand:
    """Whose mails these are.

    Attributes:
        name: shown on top and in the text.
        address: mails come from it; organizes what is in calendars.
        support_email: where customers write to; without one they answer the mail itself.
        color: `#rrggbb` of buttons and links; white letters on it can be read.
        logo_url: https; shown on top beside the name.
        postal_address: on one line, at the end.
    """

    name: str
    address: str
    support_email: str = ""
    color: str = "#3f3d94"
    logo_url: str = ""
    postal_address: str = ""


@dataclass(frozen=True)
class Rendered:
    """The parts of one mail.

    Attributes:
        subject: one line; so is the preheader.
        html: the page.
        text: the same in plain text.
        language: BCP 47, of both.
        images: Content-ID → PNG that the page shows.
        invitation: a calendar file to go with it.
    """

    subject: str
    preheader: str
    html: str
    text: str
    language: str = "en"
    images: Mapping[str, bytes] = field(default_factory=dict)
    invitation: Invitation | None = None


class _Absent(StrictUndefined):
    """A field that the event does not have: false in a condition, an error anywhere else.

    So a template prints what it needs and asks before it prints the rest. The error's text is the field's
    name.
    """

    def __bool__(self) -> bool:  # type: ignore[override]  # it never returns in the base class
        return False

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name)


class Renderer:
    """Renders mails of one brand. Templates are compiled once; one renderer serves all threads.

    Args:
        brand: whose mails these are.
        default_currency: ISO 4217, for events that name none.
        default_zone: of the IANA database, for times that name none; "" leaves them as they stand.
        languages: what mails can be written in.
    """

    def __init__(
        self, brand: Brand, default_currency: str, default_zone: str = "", languages: Languages | None = None
    ) -> None:
        self._brand = brand
        self._default_currency = default_currency
        self._default_zone = default_zone
        self._languages = languages or Languages()
        self._templates = {code: _templates(language) for code, language in self._languages.all.items()}
        # mrml links web fonts by default; mails load nothing from elsewhere.
        self._mjml_options = mrml.RenderOptions(fonts={})

    def render(self, template: str, event: Mapping[str, Any]) -> Rendered:
        """Make `event` into a mail.

        Args:
            template: one of `TEMPLATES`.
            event: its fields as they came from the wire.

        Raises:
            TemplateVariableMissing: the event lacks a field that the template needs.
            RenderError: there is no such template, or a field has a value of the wrong kind.
        """
        if template not in TEMPLATES:
            raise RenderError(f"unknown template {template!r:.100}")
        try:
            wanted = Conventions.of(event, self._default_currency, self._default_zone)
            language, locale = self._languages.of(wanted.locale)
            conventions = replace(wanted, locale=locale)
            page, plain = self._templates[language.code][template]
            fields = view(event, conventions, language) | {"brand": self._brand, "language": language}
            _limit_tickets(fields)
            images = self._images(template, fields)
            subject = one_line(_block(plain, "subject", fields), _LONGEST_SUBJECT)
            preheader = one_line(_block(plain, "preheader", fields), _LONGEST_PREHEADER)
            # Optional lines leave blank ones behind.
            text = re.sub(r"\n{3,}", "\n\n", plain.render(fields)).strip() + "\n"
            mjml = page.render(
                fields,
                subject=subject,
                preheader=preheader,
                images={name: size for name, (_, size) in images.items()},
                reservation=reservation(template, event, conventions),
            )
        except UndefinedError as error:
            raise TemplateVariableMissing(template, str(error)) from None
        except Unpresentable as error:
            raise RenderError(f"template {template}: {error}") from None
        html = mrml.to_html(mjml, render_options=self._mjml_options).content
        organizer = (self._brand.name, self._brand.address)
        return Rendered(
            subject=subject,
            preheader=preheader,
            html=html,
            text=text,
            language=language.code,
            images={name: png for name, (png, _) in images.items()},
            invitation=invitation(template, event, conventions, organizer),
        )

    @staticmethod
    def _images(template: str, fields: Mapping[str, Any]) -> dict[str, tuple[bytes, int]]:
        """Name → picture and its size, of those that are made for the mail."""
        if template not in _WITH_CODES:
            return {}
        tickets = fields.get("tickets")
        if tickets:
            return {ticket["image"]: qr_png(ticket["code"]) for ticket in tickets}
        return {"qr": qr_png(fields["booking_id"])} if "booking_id" in fields else {}


def _limit_tickets(fields: dict[str, Any]) -> None:
    """Leave the first tickets, each with the name of its picture, and count the others."""
    tickets = fields.get("tickets") or []
    fields["tickets"] = [
        ticket | {"image": f"qr{number:02}"} for number, ticket in enumerate(tickets[:MAX_TICKETS], 1)
    ]
    fields["more_tickets"] = max(0, len(tickets) - MAX_TICKETS)


def _templates(language: Language) -> dict[str, tuple[Template, Template]]:
    """Every template in one language: the page, and the plain text."""
    environment = Environment(
        loader=PackageLoader("email_templates", ""),
        # Plain text has nothing to escape. Everything that becomes HTML is escaped, without exception.
        autoescape=select_autoescape(disabled_extensions=["txt"], default=True),
        undefined=_Absent,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        extensions=["jinja2.ext.i18n"],
    )
    environment.filters["failure"] = partial(failure_of, language)
    # Newstyle: what stands in a sentence is escaped when it is put there.
    environment.install_gettext_callables(  # type: ignore[attr-defined] # the extension's
        language.gettext, language.ngettext, newstyle=True
    )
    return {
        name: (environment.get_template(f"{name}.mjml"), environment.get_template(f"{name}.txt"))
        for name in TEMPLATES
    }


def _block(template: Template, name: str, fields: Mapping[str, Any]) -> str:
    return "".join(template.blocks[name](template.new_context(dict(fields))))
