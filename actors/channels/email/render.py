"""Render an event and a template into the parts of a mail: Jinja, then MJML, then HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.resources import files
from typing import Any

import mrml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, UndefinedError, select_autoescape
from markupsafe import Markup, escape

from actors.channels.email.conventions import Conventions
from actors.channels.email.errors import RenderError, TemplateVariableMissing, Unpresentable
from actors.channels.email.invitation import Invitation, invitation
from actors.channels.email.qr import qr_png
from actors.channels.email.reservation import reservation
from actors.channels.email.template_code import SharedCode
from actors.channels.email.view import view
from actors.channels.email.wallet import HANDS_OUT, TAKES_BACK, Passes, Wallet
from actors.channels.email.wallet.showing import Showing, showing
from actors.channels.email.wording import failure_of
from app.languages import Language, Languages, without_isolates
from app.text import one_line

#: Each template is a pair of files in `email_templates`: `.mjml` for the HTML, and `.txt` for the plain text,
#: the subject, and the preheader. These are shared parts, not templates.
_PARTS = {"layout", "macros"}
_PAGES = (file.name for file in files("email_templates").iterdir() if file.name.endswith(".mjml"))
TEMPLATES = tuple(sorted({page.removesuffix(".mjml") for page in _PAGES} - _PARTS))

#: Templates that show entrance codes, and the maximum number of seats. Ten take 31 KB; Gmail clips mails at
#: 102 KB.
_WITH_CODES = ("booking_confirmation", "booking_update", "booking_reminder")
MAX_TICKETS = 10

#: Maximum characters of a subject, which clients truncate, and of a preheader, which the inbox shows after
#: the subject.
_MAX_SUBJECT_LENGTH = 140
_MAX_PREHEADER_LENGTH = 130

#: Text that is never wrapped: a time of day, or an offset from UTC.
_KEPT_TOGETHER = re.compile(r"\d{1,2}:\d{2} (?:[AaPp]\.?[Mm]\b\.?|[\u0635\u0645]\b)|UTC[+-]\d{2}:\d{2}")


@dataclass(frozen=True)
class Brand:
    """Whose mails these are.

    Attributes:
        name: shown on top and in the text.
        address: sender of mails and organizer of calendar entries.
        support_email: contact for customers; without one, they reply to the mail.
        color: `#rrggbb` of buttons and links, dark enough for white text.
        logo_url: https; shown on top beside the name.
        postal_address: on one line, shown at the end.
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
        html: the HTML part.
        text: the same in plain text.
        language: BCP 47 tag of both parts.
        images: Content-ID → embedded PNG.
        invitation: calendar file to attach.
        passes: name → Apple Wallet pass to attach.
    """

    subject: str
    preheader: str
    html: str
    text: str
    language: str = "en"
    images: Mapping[str, bytes] = field(default_factory=dict)
    invitation: Invitation | None = None
    passes: Mapping[str, bytes] = field(default_factory=dict)


class _Absent(StrictUndefined):
    """A field that the event does not have: false in a condition, an error anywhere else.

    So a template prints required fields, and tests optional ones first. The error's text is the field's name.
    """

    def __bool__(self) -> bool:  # type: ignore[override]  # it never returns in the base class
        return False

    @property
    def _undefined_message(self) -> str:
        return str(self._undefined_name)


class Renderer:
    """Renders mails of one brand. Templates are compiled once; one renderer serves all threads.

    Args:
        brand: the brand of the mails.
        default_currency: ISO 4217 code for events without one.
        default_zone: IANA zone for times without one; "" to show them unchanged.
        languages: languages of mails.
        wallet: makes wallet passes; None for none.
    """

    def __init__(
        self,
        brand: Brand,
        default_currency: str,
        default_zone: str = "",
        languages: Languages | None = None,
        wallet: Wallet | None = None,
    ) -> None:
        self._brand = brand
        self._default_currency = default_currency
        self._default_zone = default_zone
        self._languages = languages or Languages()
        self._wallet = wallet
        self._templates = {code: _templates(language) for code, language in self._languages.all.items()}
        # mrml links web fonts by default, but mails load nothing external.
        self._mjml_options = mrml.RenderOptions(fonts={})

    def replaces_passes(self, template: str) -> bool:
        """Return whether mails of `template` replace passes of an earlier mail."""
        replaces = self._wallet is not None and self._wallet.replaces
        return replaces and template in (*HANDS_OUT[1:], TAKES_BACK)

    def render(
        self, template: str, event: Mapping[str, Any], earlier: Mapping[str, Any] | None = None
    ) -> Rendered:
        """Render `event` as a mail.

        Args:
            template: one of `TEMPLATES`.
            event: the unchanged event.
            earlier: the event of the booking's last mail, if `replaces_passes`.

        Raises:
            TemplateVariableMissing: the event lacks a required field.
            RenderError: the template does not exist, or a field has an invalid value.
        """
        if template not in TEMPLATES:
            raise RenderError(f"unknown template {template!r:.100}: use one of {', '.join(TEMPLATES)}")
        try:
            requested = Conventions.of(event, self._default_currency, self._default_zone)
            language, locale = self._languages.of(requested.locale)
            conventions = replace(requested, locale=locale)
            page, plain = self._templates[language.code][template]
            fields = view(event, conventions, language) | {"brand": self._brand, "language": language}
            _limit_tickets(fields)
            passes = self._passes(template, fields, event, earlier, conventions, language)
            fields |= {"google_links": passes.links, "apple_passes": len(passes.files)}
            images = self._images(template, fields)
            subject = one_line(without_isolates(_block(plain, "subject", fields)), _MAX_SUBJECT_LENGTH)
            preheader = one_line(without_isolates(_block(plain, "preheader", fields)), _MAX_PREHEADER_LENGTH)
            # Omitted optional lines leave blank lines.
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
            passes=passes.files,
        )

    def _passes(
        self,
        template: str,
        fields: Mapping[str, Any],
        event: Mapping[str, Any],
        earlier: Mapping[str, Any] | None,
        conventions: Conventions,
        language: Language,
    ) -> Passes:
        if self._wallet is None or template not in (*HANDS_OUT, TAKES_BACK):
            return Passes({})
        handed_out: Showing | None = None
        if earlier is not None:
            before = view(earlier, conventions, language)
            _limit_tickets(before)
            handed_out = showing(before, earlier, conventions, language.code)
        if template == TAKES_BACK:
            return self._wallet.passes(None, handed_out)
        return self._wallet.passes(showing(fields, event, conventions, language.code), handed_out)

    @staticmethod
    def _images(template: str, fields: Mapping[str, Any]) -> dict[str, tuple[bytes, int]]:
        """Return name → image and its size, for the images generated for the mail."""
        if template not in _WITH_CODES:
            return {}
        tickets = fields.get("tickets")
        if tickets:
            return {ticket["image"]: qr_png(ticket["code"]) for ticket in tickets}
        return {"qr": qr_png(fields["booking_id"])} if "booking_id" in fields else {}


def _limit_tickets(fields: dict[str, Any]) -> None:
    """Keep the first tickets, each with the name of its image, and count the others."""
    tickets = fields.get("tickets") or []
    fields["tickets"] = [
        ticket | {"image": f"qr{number:02}"} for number, ticket in enumerate(tickets[:MAX_TICKETS], 1)
    ]
    fields["more_tickets"] = max(0, len(tickets) - MAX_TICKETS)


_CODE = SharedCode()


def _templates(language: Language) -> dict[str, tuple[Template, Template]]:
    """Return every template in one language: HTML and plain text."""
    environment = Environment(
        loader=PackageLoader("email_templates", ""),
        # Plain text is not escaped. Everything that becomes HTML is.
        autoescape=select_autoescape(disabled_extensions=["txt"], default=True),
        undefined=_Absent,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        bytecode_cache=_CODE,
        extensions=["jinja2.ext.i18n"],
    )
    environment.filters["failure"] = partial(failure_of, language)
    environment.filters |= {"unbroken": _unbroken, "whole": _whole}
    # Newstyle, so that values are escaped when they are inserted into a sentence.
    environment.install_gettext_callables(  # type: ignore[attr-defined] # the extension's
        language.gettext, language.ngettext, newstyle=True
    )
    return {
        name: (environment.get_template(f"{name}.mjml"), environment.get_template(f"{name}.txt"))
        for name in TEMPLATES
    }


#: Characters of an id that fit on a line of a phone.
_MAX_UNBROKEN_LENGTH = 24

_UNBROKEN = Markup('<span style="white-space:nowrap">{}</span>')


def _whole(value: str) -> str:
    """Return the id `value` as HTML that clients do not wrap at its hyphens, unless it is long."""
    return _UNBROKEN.format(value) if len(value) <= _MAX_UNBROKEN_LENGTH else value


def _unbroken(value: str) -> Markup:
    """Return `value` as HTML that clients do not wrap inside a time of day or an offset from UTC."""
    html = _KEPT_TOGETHER.sub(lambda found: _UNBROKEN.format(found[0]), str(escape(value)))
    return Markup(html)  # noqa: S704  # escaped above


def _block(template: Template, name: str, fields: Mapping[str, Any]) -> str:
    return "".join(template.blocks[name](template.new_context(dict(fields))))
