"""Scopes: what an API key can be allowed to do."""

SCOPES = (
    "payments:write",
    "payments:read",
    "refunds:write",
    # The dashboard: view pages, replay dead letters, see addresses unmasked.
    "ops:read",
    "ops:write",
    "ops:pii",
)
