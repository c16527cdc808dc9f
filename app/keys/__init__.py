"""API keys: their scopes, their records, and the lookup of a token. Import the modules, not the package."""
