"""Wallet passes of a booking: Apple's as attachments, Google's as links. Off without their settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.clock import utcnow
from app.settings.wallet import read_logo

if TYPE_CHECKING:
    from actors.channels.email.wallet.apple import ApplePasses
    from actors.channels.email.wallet.google import GoogleLinks, Link
    from actors.channels.email.wallet.showing import Showing, Style, Ticket
    from app.languages import Languages
    from app.settings import Settings

#: MIME type of a pass. Each pass is an attachment, because Mail does not open bundles (.pkpasses).
CONTENT_TYPE = "application/vnd.apple.pkpass"

#: Templates that issue passes, and the one that voids them.
HANDS_OUT = ("booking_confirmation", "booking_update")
TAKES_BACK = "booking_cancellation"


@dataclass(frozen=True)
class Passes:
    """The wallet passes of one mail.

    Attributes:
        files: name → Apple Wallet pass.
        links: links to Google Wallet.
    """

    files: Mapping[str, bytes]
    links: Sequence[Link] = ()


class Wallet:
    """Makes the passes of one brand's mails.

    Args:
        apple: makes Apple Wallet passes; None if disabled.
        google: makes Google Wallet links; None if disabled.
    """

    def __init__(self, apple: ApplePasses | None, google: GoogleLinks | None) -> None:
        self._apple = apple
        self._google = google

    @property
    def replaces(self) -> bool:
        """Return whether later mails can replace passes of earlier ones."""
        return self._apple is not None

    def passes(self, showing: Showing | None, earlier: Showing | None) -> Passes:
        """Return the passes for a mail.

        Apple passes are left out after a certificate has expired, because they could not be opened.

        Args:
            showing: the mail's tickets, or None.
            earlier: the tickets of the booking's last mail, or None.
        """
        now = utcnow()
        files = {}
        if self._apple and now < self._apple.expires:
            if showing:
                files = {_name(each): self._apple.make(showing, each) for each in showing.tickets}
            if earlier:
                # Passes of seats that are no longer booked.
                lost = earlier.tickets[len(files) :]
                files |= {_name(each): self._apple.make(earlier, each, voided=True) for each in lost}
        links = self._google.links(showing, now) if self._google and showing else ()
        return Passes(files, links)


def wallet_of(settings: Settings, style: Style, languages: Languages) -> Wallet | None:
    """Return the wallets that `settings` enable; None if both are disabled."""
    apple, google = settings.apple_wallet, settings.google_wallet
    if not apple and not google:
        return None
    # Imported here, because cryptography is slow to load and optional.
    from actors.channels.email.wallet.apple import ApplePasses
    from actors.channels.email.wallet.google import GoogleLinks

    logo = read_logo(settings.wallet_logo_file) if settings.wallet_logo_file else None
    return Wallet(
        ApplePasses(apple, style, logo, languages, settings.namespace) if apple else None,
        GoogleLinks(google, style, settings.namespace) if google else None,
    )


def _name(ticket: Ticket) -> str:
    return f"ticket-{ticket.number}.pkpass"
