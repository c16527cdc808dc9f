"""The Stripe gateway: the only package that imports the `stripe` SDK."""
