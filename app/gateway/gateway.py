"""The interface that a payment gateway implements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Protocol

from app.errors import GatewayError
from app.gateway.events import GatewayEvent
from app.gateway.facts import GatewayDispute, GatewayPayment, GatewayRefund
from app.gateway.orders import CardDetails, Charge, RefundRequest
from app.gateway.outcomes import Declined, PaymentOutcome, RefundOutcome, Refused

#: How long a gateway remembers its idempotency keys. After that, a repeated request would move the money
#: again.
KEY_MEMORY = timedelta(hours=24)


class GatewayUnavailable(GatewayError):
    """A lookup failed, so the state is not known."""


class AmountRefused(GatewayUnavailable):
    """The gateway refuses payments with this amount or currency, so a seal with them used up no key."""


class Share(StrEnum):
    """Kind of caller, which has a share of the concurrent calls."""

    CUSTOMER = "customer"
    WEBHOOK = "webhook"
    STATUS = "status"


class Gateway(Protocol):
    """A payment gateway. Safe to share between threads, and to create before a fork.

    Every payment and refund made through it carries the deployment's namespace and our ids.
    """

    #: The payment method used in test mode if a request has none.
    default_test_method: str

    def admitted(self, share: Share = Share.CUSTOMER) -> AbstractContextManager[None]:
        """Hold a slot for a call.

        Raises:
            GatewayError: no slot is free; nothing was sent to the gateway.
        """

    def tokenize(self, card: CardDetails) -> str | Declined | Refused:
        """Exchange a raw card for the id of a payment method. Charges nothing."""

    def test_method(self, card: CardDetails) -> str:
        """Return the id of the payment method that stands for a test card.

        Raises:
            InvalidCard: the number is not one of the gateway's test cards.
        """

    def charge(self, charge: Charge) -> PaymentOutcome:
        """Charge a payment. Repeating it within KEY_MEMORY charges once and returns the first outcome.

        Takes at most the time budget of the settings. Never raises for a failure of the gateway.
        """

    def payment(self, gateway_id: str) -> GatewayPayment | None:
        """Look up a payment; None if the gateway has none with this id.

        Raises:
            GatewayUnavailable: the gateway gave no usable response.
        """

    def payment_of_charge(self, charge_id: str) -> str | None:
        """Return the gateway's id of the payment that a charge belongs to; None if there is no such charge.

        Raises:
            GatewayUnavailable: the gateway gave no usable response.
        """

    def cancel(self, gateway_id: str, *, abandoned: bool) -> GatewayPayment:
        """Cancel a payment that waits for its customer, so that it can't be confirmed.

        Args:
            gateway_id: the gateway's id of the payment.
            abandoned: True if the customer took too long, False if someone requested the cancellation.

        Returns:
            The outcome afterwards: charged if the customer was faster.

        Raises:
            GatewayUnavailable: the gateway gave no usable response; it may be canceled or not.
        """

    def payments(self, since: datetime, until: datetime | None = None) -> Iterator[GatewayPayment]:
        """List payments of this deployment, and those without a deployment, newest first.

        Args:
            since: the earliest time of creation, by the gateway's clock, in whole seconds.
            until: the latest, included.

        Raises:
            GatewayUnavailable: the gateway did not list them all.
        """

    def seal(self, key: str, amount: Decimal, currency: str) -> bool:
        """Use up an idempotency key, so that a late request with it can't be carried out.

        Moves no money. Repeating it is harmless.

        Args:
            key: a transaction id or refund id.
            amount: the payment's amount in major units.
            currency: ISO 4217.

        Returns:
            True if no request with the key was carried out, and none can be from now on.

        Raises:
            AmountRefused: the gateway refuses the amount or the currency.
            GatewayUnavailable: the gateway gave no usable response, or such a request is in progress.
        """

    def refund(self, request: RefundRequest) -> RefundOutcome:
        """Make a refund. Repeating it within KEY_MEMORY refunds once and returns the first outcome."""

    def find_refund(self, gateway_id: str) -> GatewayRefund | None:
        """Look up a refund by the gateway's id; None if there is none.

        Raises:
            GatewayUnavailable: the gateway gave no usable response.
        """

    def refunds(
        self, *, payment: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[GatewayRefund]:
        """List refunds, whoever made them, newest first.

        Args:
            payment: only those of this payment (the gateway's id).
            since: the earliest time of creation, by the gateway's clock, in whole seconds.
            until: the latest, included.

        Raises:
            GatewayUnavailable: the gateway did not list them all.
        """

    def disputes(self, since: datetime) -> Iterator[GatewayDispute]:
        """List the disputes opened since `since`, newest first.

        Raises:
            GatewayUnavailable: the gateway did not list them all.
        """

    def clock(self) -> datetime:
        """Return the gateway's time, from a response to a request with our API key.

        Raises:
            GatewayUnavailable: no response, or the key was rejected.
        """

    def read_webhook(self, payload: bytes, signature: str) -> GatewayEvent:
        """Verify and read a webhook delivery.

        Args:
            payload: the body, byte for byte.
            signature: the header that signs it.

        Raises:
            BadWebhook: signature mismatch, timestamp outside the tolerance, or not an event.
        """
