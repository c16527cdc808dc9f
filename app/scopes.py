"""What an API key may be allowed to do."""

SCOPES = ("payments:write", "payments:read", "refunds:write")
