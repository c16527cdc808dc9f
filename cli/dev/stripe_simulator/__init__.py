"""A Stripe that charges nobody: the part of its API that this project uses, over a real socket."""
