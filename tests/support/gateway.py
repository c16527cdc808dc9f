"""A gateway in memory that returns scripted results and records requests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from decimal import Decimal

from app.errors import GatewayError
from app.gateway import (
    CardDetails,
    Charge,
    Charged,
    Declined,
    GatewayDispute,
    GatewayEvent,
    GatewayPayment,
    GatewayRefund,
    GatewayUnavailable,
    PaymentOutcome,
    Refunded,
    RefundOutcome,
    RefundRequest,
    Refused,
    Share,
)


class FakeGateway:
    """See `Gateway`.

    Attributes:
        outcome: of every charge.
        refund_outcome: of every refund.
        tokenized: of every card.
        after_cancel: outcome of a payment after its cancellation.
        payments_there: the gateway's payments by id.
        refunds_there: the gateway's refunds by id.
        down: whether every read fails.
        full: shares without a free slot.
        used_keys: keys that can't be sealed, because a request with them was carried out.
        requested: requests in order: the method's name and its arguments.
        shares: shares of the acquired slots, in order.
    """

    default_test_method = "pm_default"

    def __init__(self) -> None:
        self.outcome: PaymentOutcome = Charged("pi_1", "visa", "4242")
        self.refund_outcome: RefundOutcome = Refunded("re_1")
        self.tokenized: str | Declined | Refused = "pm_tokenized"
        self.after_cancel: GatewayPayment | None = None
        self.payments_there: dict[str, GatewayPayment] = {}
        self.refunds_there: dict[str, GatewayRefund] = {}
        self.down = False
        self.full: set[Share] = set()
        self.used_keys: set[str] = set()
        self.requested: list[tuple[object, ...]] = []
        self.shares: list[Share] = []

    def _read(self, *what: object) -> None:
        self.requested.append(what)
        if self.down:
            raise GatewayUnavailable("The payment gateway did not respond.")

    @contextmanager
    def admitted(self, share: Share = Share.CUSTOMER) -> Iterator[None]:
        if share in self.full:
            raise GatewayError("The payment gateway is slow.")
        self.shares.append(share)
        yield

    def tokenize(self, card: CardDetails) -> str | Declined | Refused:
        self.requested.append(("tokenize", card))
        return self.tokenized

    def test_method(self, card: CardDetails) -> str:
        return f"pm_test_{card.number[-4:]}"

    def charge(self, charge: Charge) -> PaymentOutcome:
        self.requested.append(("charge", charge))
        return self.outcome

    def payment(self, gateway_id: str) -> GatewayPayment | None:
        self._read("payment", gateway_id)
        return self.payments_there.get(gateway_id)

    def cancel(self, gateway_id: str, *, abandoned: bool) -> GatewayPayment:
        self._read("cancel", gateway_id, abandoned)
        return self.after_cancel or self.payments_there[gateway_id]

    def payments(self, since: datetime, until: datetime | None = None) -> Iterator[GatewayPayment]:
        self._read("payments", since, until)
        yield from self.payments_there.values()

    def seal(self, key: str, amount: Decimal, currency: str) -> bool:
        self._read("seal", key, amount, currency)
        return key not in self.used_keys

    def refund(self, request: RefundRequest) -> RefundOutcome:
        self.requested.append(("refund", request))
        return self.refund_outcome

    def payment_of_charge(self, charge_id: str) -> str | None:
        return None

    def find_refund(self, gateway_id: str) -> GatewayRefund | None:
        self._read("find_refund", gateway_id)
        return self.refunds_there.get(gateway_id)

    def refunds(
        self, *, payment: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[GatewayRefund]:
        self._read("refunds", payment, since, until)
        yield from (
            refund for refund in self.refunds_there.values() if payment in (None, refund.payment_gateway_id)
        )

    def disputes(self, since: datetime) -> Iterator[GatewayDispute]:
        raise NotImplementedError

    def clock(self) -> datetime:
        raise NotImplementedError

    def read_webhook(self, payload: bytes, signature: str) -> GatewayEvent:
        raise NotImplementedError
