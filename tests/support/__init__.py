"""Test helpers, and real servers that are found or started."""
