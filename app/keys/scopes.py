"""Scopes of API keys."""

SCOPES = (
    "payments:write",
    "payments:read",
    "refunds:write",
    # A mail server that reports bounces.
    "notifications:write",
    # The dashboard: see pages; replay, drop, and resend; move money; see personal data unmasked.
    "ops:read",
    "ops:write",
    "ops:money",
    "ops:pii",
)
