"""A Stripe that charges nobody: the part of its API that this project uses, over a real socket.

`/v1` answers as Stripe does, to any key that begins with `sk_test_`. `/_simulator` is what Stripe does not
have: what the customer and the bank do, faults on demand, the clock, and a look at everything that happened
(see `control`). The program is told of the simulator by PAYMENT_GATEWAY_URL and knows no difference.
"""
