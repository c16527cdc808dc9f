"""The whole money side in one thread, under a seeded scheduler: see docs/testing.md."""
