"""What an API key may be allowed to do."""

SCOPES = (
    "payments:write",
    "payments:read",
    "refunds:write",
    # The dashboard: look, put back dead letters, see addresses in full.
    "ops:read",
    "ops:write",
    "ops:pii",
)
