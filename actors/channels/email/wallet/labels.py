"""The words on an Apple Wallet pass. The catalogs of the mails translate them."""

from __future__ import annotations

LABELS = (
    "Movie ticket",
    "Movie",
    "Showtime",
    "Cinema",
    "Screen",
    "Ticket type",
    "Booking number",
    "Name",
    "Address",
    "Contact",
)

#: Singular and plural, as in the mails.
SEAT = ("Seat", "Seats")
