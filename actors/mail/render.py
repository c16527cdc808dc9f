"""One event and one template made into the parts of a mail: Jinja, then MJML, then HTML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mrml
from jinja2 import Environment, PackageLoader, StrictUndefined, Template, UndefinedError, select_autoescape

from actors.mail.errors import RenderError, TemplateVariableMissing, Unpresentable
from actors.mail.text import one_line
from actors.mail.view import view
from actors.mail.wording import failure_for

#: Each is a pair of files in `email_templates`: `.mjml` for the page; `.txt` for the plain text, the subject
#: and the preheader.
TEMPLATES = (
    "booking_confirmation",
    "booking_cancellation",
    "payment_success",
    "payment_failed",
    "payment_refund",
)

#: Characters. Longer ones are cut by every client; a preheader is what the list shows after the subject.
_LONGEST_SUBJECT = 140
_LONGEST_PREHEADER = 130


@dataclass(frozen=True)
class Brand:
    """Whose mails these are.

    Attributes:
        name: shown on top and in the text.
        support_email: where customers write to; None: they answer the mail itself.
    """

    name: str
    support_email: str | None = None


@dataclass(frozen=True)
class Rendered:
    """The parts of one mail. Subject and preheader are one line each."""

    subject: str
    preheader: str
    html: str
    text: str


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
    """

    def __init__(self, brand: Brand, default_currency: str) -> None:
        self._brand = brand
        self._default_currency = default_currency
        environment = Environment(
            loader=PackageLoader("email_templates", ""),
            # Plain text has nothing to escape. Everything that becomes HTML is escaped, without exception.
            autoescape=select_autoescape(disabled_extensions=["txt"], default=True),
            undefined=_Absent,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        environment.filters["failure"] = failure_for
        self._templates = {
            name: (environment.get_template(f"{name}.mjml"), environment.get_template(f"{name}.txt"))
            for name in TEMPLATES
        }
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
        if template not in self._templates:
            raise RenderError(f"there is no template {template!r:.100}")
        page, plain = self._templates[template]
        try:
            fields = view(event, self._default_currency) | {"brand": self._brand}
            subject = one_line(_block(plain, "subject", fields), _LONGEST_SUBJECT)
            preheader = one_line(_block(plain, "preheader", fields), _LONGEST_PREHEADER)
            # Optional lines leave blank ones behind.
            text = re.sub(r"\n{3,}", "\n\n", plain.render(fields)).strip() + "\n"
            mjml = page.render(fields, subject=subject, preheader=preheader)
        except UndefinedError as error:
            raise TemplateVariableMissing(template, str(error)) from None
        except Unpresentable as error:
            raise RenderError(f"template {template}: {error}") from None
        html = mrml.to_html(mjml, render_options=self._mjml_options).content
        return Rendered(subject=subject, preheader=preheader, html=html, text=text)


def _block(template: Template, name: str, fields: Mapping[str, Any]) -> str:
    return "".join(template.blocks[name](template.new_context(dict(fields))))
