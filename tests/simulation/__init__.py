"""The whole payment code in one thread, under a seeded scheduler: see docs/testing.md."""
