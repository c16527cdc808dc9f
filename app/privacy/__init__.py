"""Erasure of personal data. Import the modules, not the package."""
