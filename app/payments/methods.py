"""The payment methods, for frontends."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.settings import Settings

_METHODS = {
    "credit_card": ("Credit card", "Visa, Mastercard, American Express and others"),
    "debit_card": ("Debit card", "Debit cards of all major networks"),
    "paypal": ("PayPal", "Log in at PayPal and confirm there"),
    "stripe": ("Stripe", "A payment method saved with Stripe"),
}


def payment_methods(settings: Settings) -> list[dict[str, str | bool]]:
    """Return every payment method with its names, and whether `settings` enable it."""
    return [
        {"id": method, "name": name, "description": text, "enabled": method in settings.payment_methods}
        for method, (name, text) in _METHODS.items()
    ]
