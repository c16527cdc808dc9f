"""The payment gateway implementation for Stripe."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import stripe

from app.gateway.bulkhead import Bulkhead
from app.gateway.events import GatewayEvent
from app.gateway.facts import GatewayDispute, GatewayPayment, GatewayRefund
from app.gateway.gateway import AmountRefused, GatewayUnavailable, Share
from app.gateway.outcomes import Declined, PaymentOutcome, RefundOutcome, Refused
from app.gateway.stripe import reading
from app.gateway.stripe.client import StripeApi
from app.gateway.stripe.currencies import to_minor
from app.gateway.stripe.errors import (
    charge_failure,
    details,
    is_replayed,
    reason,
    refund_failure,
    refuses_amount,
)
from app.gateway.stripe.test_cards import DEFAULT_TEST_METHOD, method_for
from app.gateway.stripe.webhooks import read_webhook

if TYPE_CHECKING:
    from app.gateway.orders import CardDetails, Charge, RefundRequest
    from app.settings import Settings

#: An expanded PaymentIntent contains the card that was charged.
_WITH_CHARGE = {"expand": ["latest_charge"]}
_LIST_WITH_CHARGE = {"expand": ["data.latest_charge"]}


class StripeGateway:
    """A `Gateway` that uses Stripe's API.

    Args:
        settings: URL, keys, timeouts, namespace.
        api: sends the requests; tests can replace it.
    """

    default_test_method = DEFAULT_TEST_METHOD

    def __init__(self, settings: Settings, api: StripeApi | None = None) -> None:
        self._api = api or StripeApi(settings)
        self._namespace = settings.namespace
        self._webhook_secrets = settings.webhook_secrets
        self._bulkhead = Bulkhead(settings.gateway_calls)

    def admitted(self, share: Share = Share.CUSTOMER) -> AbstractContextManager[None]:
        return self._bulkhead.admitted(share)

    def tokenize(self, card: CardDetails) -> str | Declined | Refused:
        params = {
            "type": "card",
            "card": {
                "number": card.number,
                "cvc": card.cvv,
                "exp_month": card.month,
                "exp_year": card.year,
            },
        }
        try:
            method_id: str = self._api.call("post", "/v1/payment_methods", params)["id"]
        except stripe.CardError as error:
            return reading.declined(details(error))
        except stripe.InvalidRequestError as error:
            return Refused(reason(error))
        except stripe.StripeError as error:
            # Nothing is charged here, so it does not matter whether the request arrived.
            return Refused(reason(error), transient=True)
        return method_id

    def test_method(self, card: CardDetails) -> str:
        return method_for(card.number)

    def charge(self, charge: Charge) -> PaymentOutcome:
        params: dict[str, Any] = {
            "amount": to_minor(charge.amount, charge.currency),
            "currency": charge.currency.lower(),
            "metadata": self._charge_metadata(charge),
            **_WITH_CHARGE,
        }
        match charge.kind:
            case "card":
                params |= {"payment_method_types": ["card"], "payment_method": charge.payment_method}
            case "paypal":
                params |= {"payment_method_types": ["paypal"], "payment_method_data": {"type": "paypal"}}
            case "element":
                params |= {"automatic_payment_methods": {"enabled": True}}
        if charge.kind != "element":
            params["confirm"] = True
            if charge.return_url:
                params["return_url"] = charge.return_url
        try:
            intent = self._api.call("post", "/v1/payment_intents", params, charge.transaction_id)
        except stripe.StripeError as error:
            return charge_failure(error)
        return reading.payment_outcome(intent)

    def payment(self, gateway_id: str) -> GatewayPayment | None:
        intent = self._get(_intent_path(gateway_id), _WITH_CHARGE)
        return reading.payment(intent) if intent else None

    def cancel(self, gateway_id: str, *, abandoned: bool) -> GatewayPayment:
        cause = reading.ABANDONED if abandoned else reading.REQUESTED
        params = {"cancellation_reason": cause, **_WITH_CHARGE}
        with _usable_response():
            try:
                return reading.payment(self._api.call("post", f"{_intent_path(gateway_id)}/cancel", params))
            except stripe.InvalidRequestError:  # its state does not allow it
                payment = self.payment(gateway_id)
        if payment is None:
            raise GatewayUnavailable(f"The gateway has no payment {gateway_id}.")
        return payment

    def payments(self, since: datetime, until: datetime | None = None) -> Iterator[GatewayPayment]:
        params = _created(since, until) | _LIST_WITH_CHARGE
        with _usable_response():
            for intent in self._api.pages("/v1/payment_intents", params):
                metadata = intent.get("metadata") or {}
                if metadata.get(reading.TRANSACTION_ID) and self._is_ours(metadata):
                    yield reading.payment(intent)

    def seal(self, key: str, amount: Decimal, currency: str) -> bool:
        # A PaymentIntent that nobody can confirm, because its secret is discarded. If the key was used for
        # another request, Stripe refuses this one: https://docs.stripe.com/api/idempotent_requests
        params = {
            "amount": to_minor(amount, currency),
            "currency": currency.lower(),
            "payment_method_types": ["card"],
            "metadata": self._mark() | {reading.SEALED_KEY: key},
        }
        with _usable_response():
            try:
                intent = self._api.call("post", "/v1/payment_intents", params, key)
            except stripe.IdempotencyError:
                return False
            except stripe.InvalidRequestError as error:
                if refuses_amount(error):
                    raise AmountRefused(
                        f"The gateway refuses the amount or the currency: {reason(error)}."
                    ) from error
                raise
            except stripe.APIError as error:
                if is_replayed(error):
                    return True  # stored for this same seal request
                raise
        # So that no open payment stays in Stripe's dashboard. If the key was sealed before, it is already
        # canceled.
        with suppress(stripe.StripeError):
            self._api.call("post", f"{_intent_path(intent['id'])}/cancel", {})
        return True

    def refund(self, request: RefundRequest) -> RefundOutcome:
        params = {
            "payment_intent": request.payment_gateway_id,
            "amount": to_minor(request.amount, request.currency),
            "metadata": self._mark() | {reading.REFUND_ID: request.refund_id},
        }
        try:
            stripe_refund = self._api.call("post", "/v1/refunds", params, request.refund_id)
        except stripe.StripeError as error:
            return refund_failure(error)
        return reading.refund_outcome(stripe_refund)

    def payment_of_charge(self, charge_id: str) -> str | None:
        charge = self._get(f"/v1/charges/{quote(charge_id, safe='')}")
        payment = charge.get("payment_intent") if charge else None
        return payment if isinstance(payment, str) else None

    def find_refund(self, gateway_id: str) -> GatewayRefund | None:
        stripe_refund = self._get(f"/v1/refunds/{quote(gateway_id, safe='')}")
        return reading.refund(stripe_refund) if stripe_refund else None

    def refunds(
        self, *, payment: str | None = None, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[GatewayRefund]:
        params = _created(since, until) | ({"payment_intent": payment} if payment else {})
        with _usable_response():
            yield from map(reading.refund, self._api.pages("/v1/refunds", params))

    def disputes(self, since: datetime) -> Iterator[GatewayDispute]:
        with _usable_response():
            yield from map(reading.dispute, self._api.pages("/v1/disputes", _created(since)))

    def clock(self) -> datetime:
        with _usable_response():
            return self._api.clock()

    def read_webhook(self, payload: bytes, signature: str) -> GatewayEvent:
        return read_webhook(payload, signature, self._webhook_secrets)

    def _get(self, path: str, params: dict[str, Any] | None = None) -> reading.StripeObject | None:
        """Return an object, or None if it does not exist."""
        with _usable_response():
            try:
                return self._api.call("get", path, params)
            except stripe.InvalidRequestError as error:
                if error.http_status == 404:
                    return None
                raise

    def _charge_metadata(self, charge: Charge) -> dict[str, str]:
        given = {
            name: value for name, value in charge.metadata.items() if name not in reading.RESERVED_METADATA
        }
        own_fields = {
            reading.TRANSACTION_ID: charge.transaction_id,
            reading.BOOKING_ID: charge.booking_id,
            reading.USER_ID: charge.user_id,
        }
        return given | self._mark() | own_fields

    def _mark(self) -> dict[str, str]:
        """Return the metadata that marks the deployment. Stripe drops empty values, so an empty namespace has
        none."""
        return {reading.NAMESPACE: self._namespace} if self._namespace else {}

    def _is_ours(self, metadata: reading.StripeObject) -> bool:
        # Old versions made PaymentIntents without a namespace.
        return metadata.get(reading.NAMESPACE, "") in ("", self._namespace)


def _intent_path(gateway_id: str) -> str:
    return f"/v1/payment_intents/{quote(gateway_id, safe='')}"


def _created(since: datetime | None, until: datetime | None = None) -> dict[str, Any]:
    """Return the list filter by creation time, which Stripe stores in whole seconds."""
    bounds = {"gte": since, "lte": until}
    given = {name: int(time.timestamp()) for name, time in bounds.items() if time}
    return {"created": given} if given else {}


@contextmanager
def _usable_response() -> Iterator[None]:
    """Turn every Stripe error into GatewayUnavailable."""
    try:
        yield
    except stripe.StripeError as error:
        raise GatewayUnavailable(f"The request to the gateway failed: {reason(error)}.") from error
