"""Addresses in Stripe's dashboard."""

from __future__ import annotations

import re

#: Prefix of an id → the page that shows it. https://docs.stripe.com/dashboard/basics
_PAGES = {"pi": "payments", "ch": "payments", "py": "payments", "dp": "disputes", "du": "disputes"}

_ID = re.compile(r"([a-z]{2})_[A-Za-z0-9_]{1,250}")


def dashboard_url(gateway_id: str, *, live: bool) -> str | None:
    """Return the page of a payment, charge, or dispute; None for an id that Stripe did not make."""
    found = _ID.fullmatch(gateway_id)
    if found is None or found[1] not in _PAGES:
        return None
    mode = "" if live else "test/"
    return f"https://dashboard.stripe.com/{mode}{_PAGES[found[1]]}/{gateway_id}"
