"""A Stripe simulator: the part of Stripe's API that movieapp uses, served over HTTP.

`/v1` responds like Stripe, to any key that starts with `sk_test_`. `/_simulator` adds control: actions of
customers and banks, faults on demand, the clock, and the whole state (see `control`). Only
PAYMENT_GATEWAY_URL makes movieapp use the simulator instead of Stripe.
"""
