"""Stripe, or a server that speaks like it: the only package that imports the `stripe` SDK."""
