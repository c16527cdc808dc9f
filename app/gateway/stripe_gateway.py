"""Stripe through its own SDK, reduced to the calls we make and the answers we can tell apart."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

import requests
import stripe
from urllib3.exceptions import ConnectTimeoutError, NewConnectionError

from app.gateway.declines import decline_for
from app.gateway.outcomes import (
    ActionRequired,
    Charged,
    Declined,
    PaymentOutcome,
    Refunded,
    RefundOutcome,
    Refused,
    Unknown,
)

if TYPE_CHECKING:
    from datetime import datetime

    from stripe.params import PaymentIntentCreateParams, PaymentIntentListParams, RefundCreateParams

    from app.settings import Settings

#: An InvalidRequestError about one of these is about the amount, which the caller can mend.
_AMOUNT_CODES = {"amount_too_small", "amount_too_large", "invalid_charge_amount"}


#: For so long the same request may be sent again with its key. Stripe forgets a key after 24 hours, and would
#: then charge, or refund, once more.
KEY_REMEMBERED = timedelta(hours=20)

#: Seconds that Stripe's clock may be behind ours, and that a charge may take to reach Stripe.
_CLOCK_SKEW = 300
_LONGEST_CALL = 3_600


@dataclass(frozen=True)
class Charge:
    """A payment to make.

    Attributes:
        transaction_id: ours; Stripe's idempotency key, so that any number of tries charge once.
        minor_amount: in Stripe's minor units of `currency`.
        payment_method: a PaymentMethod id (`pm_…`), or None to pay with PayPal.
        return_url: where a redirect ends.
    """

    transaction_id: str
    minor_amount: int
    currency: str
    booking_id: str
    user_id: str
    payment_method: str | None
    return_url: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


class _Client(stripe.RequestsClient):
    """The SDK's HTTP client (a kept connection for each thread), which remembers if a request got out.

    The SDK reports a refused connection and a lost answer alike; only the second may have charged.
    """

    def __init__(self, timeout: tuple[float, float]) -> None:
        super().__init__(timeout=timeout)
        self._call = threading.local()

    def begin(self, *, asked_before: bool) -> None:
        self._call.may_have_arrived = asked_before

    @property
    def may_have_arrived(self) -> bool:
        return bool(self._call.may_have_arrived)

    def request(  # type: ignore[override] # as the SDK's own RequestsClient does
        self, method: str, url: str, headers: Mapping[str, str] | None, post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        try:
            content, status, answer = super().request(method, url, headers, post_data)
        except stripe.APIConnectionError as error:
            if not _never_connected(error.__cause__):
                self._call.may_have_arrived = True
            raise
        if status >= 500 or status == 409:
            self._call.may_have_arrived = True
        return content, status, answer


def _never_connected(error: BaseException | None) -> bool:
    if isinstance(error, requests.exceptions.ConnectTimeout):
        return True
    reason = getattr(error.args[0], "reason", None) if error and error.args else None
    return isinstance(error, requests.exceptions.ConnectionError) and isinstance(
        reason, NewConnectionError | ConnectTimeoutError
    )


class StripeGateway:
    """Charges cards. Safe to share between threads and to make before a fork."""

    def __init__(self, settings: Settings) -> None:
        self._http = _Client(
            (settings.payment_gateway_connect_timeout, settings.payment_gateway_read_timeout)
        )
        self._stripe = stripe.StripeClient(
            settings.payment_gateway_api_key.get_secret_value() or "sk_not_configured",
            base_addresses={"api": settings.payment_gateway_url.rstrip("/")},
            http_client=self._http,
            max_network_retries=settings.payment_gateway_max_retries,
        )

    def charge(self, charge: Charge, *, asked_before: bool = False) -> PaymentOutcome:
        """Create and confirm a PaymentIntent. Never raises for what a gateway can do; says what is known.

        Args:
            charge: the payment. Asked again, it must be the same to the letter.
            asked_before: whether an earlier call, of this process or another, may have reached the gateway.
        """
        params: dict[str, Any] = {
            "amount": charge.minor_amount,
            "currency": charge.currency.lower(),
            "confirm": True,
            "expand": ["latest_charge"],
            "metadata": {
                **charge.metadata,
                "transaction_id": charge.transaction_id,
                "booking_id": charge.booking_id,
                "user_id": charge.user_id,
            },
        }
        if charge.payment_method is None:
            params |= {"payment_method_types": ["paypal"], "payment_method_data": {"type": "paypal"}}
        else:
            params |= {"payment_method_types": ["card"], "payment_method": charge.payment_method}
        if charge.return_url:
            params["return_url"] = charge.return_url

        self._http.begin(asked_before=asked_before)
        try:
            intent = self._stripe.v1.payment_intents.create(
                cast("PaymentIntentCreateParams", params), {"idempotency_key": charge.transaction_id}
            )
        except stripe.StripeError as error:
            return self._outcome_of_error(error)
        return _outcome_of_intent(intent)

    def refund(
        self, refund_id: str, gateway_id: str, minor_amount: int, *, asked_before: bool = False
    ) -> RefundOutcome:
        """Give money back.

        Args:
            refund_id: ours; Stripe's idempotency key.
            gateway_id: the PaymentIntent's.
            minor_amount: in Stripe's minor units of its currency.
            asked_before: whether an earlier call may have reached the gateway.
        """
        params: RefundCreateParams = {
            "payment_intent": gateway_id,
            "amount": minor_amount,
            "metadata": {"refund_transaction_id": refund_id},
        }
        self._http.begin(asked_before=asked_before)
        try:
            refund = self._stripe.v1.refunds.create(params, {"idempotency_key": refund_id})
        except stripe.StripeError as error:
            if isinstance(error, stripe.CardError) or self._refused(error):
                return Refused(_reason(error))
            return Unknown(_reason(error))
        return _outcome_of_refund(refund)

    def find_refund(self, refund_id: str, gateway_id: str) -> RefundOutcome:
        """What became of a refund whose idempotency key Stripe may have forgotten."""
        try:
            page = self._stripe.v1.refunds.list({"payment_intent": gateway_id, "limit": 100})
            for refund in page.auto_paging_iter():
                if _metadata(refund, "refund_transaction_id") == refund_id:
                    return _outcome_of_refund(refund)
        except stripe.StripeError as error:
            return Unknown(_reason(error))
        return Refused("it never reached the gateway")

    def retrieve(self, gateway_id: str) -> PaymentOutcome:
        """What became of a PaymentIntent. No answer is no knowledge."""
        try:
            intent = self._stripe.v1.payment_intents.retrieve(gateway_id, {"expand": ["latest_charge"]})
        except stripe.StripeError as error:
            return Unknown(_reason(error), gateway_id)
        return _outcome_of_intent(intent)

    def find(self, transaction_id: str, created_at: datetime) -> PaymentOutcome:
        """What became of a payment whose idempotency key Stripe may have forgotten.

        Lists the PaymentIntents made around its time. Stripe's Search would be shorter, but is not
        read-after-write: https://docs.stripe.com/search#data-freshness
        """
        since = int(created_at.timestamp())
        window = {"gte": since - _CLOCK_SKEW, "lte": since + _LONGEST_CALL}
        params = cast("PaymentIntentListParams", {"created": window, "limit": 100})
        try:
            page = self._stripe.v1.payment_intents.list(params)
            for intent in page.auto_paging_iter():
                if _metadata(intent, "transaction_id") == transaction_id:
                    return self.retrieve(intent.id)
        except stripe.StripeError as error:
            return Unknown(_reason(error))
        return Refused("it never reached the gateway")

    def _outcome_of_error(self, error: stripe.StripeError) -> PaymentOutcome:
        if isinstance(error, stripe.CardError):
            return _decline(error.error, error.code)
        if self._refused(error):
            return Refused(_reason(error), bad_amount=error.code in _AMOUNT_CODES)
        return Unknown(_reason(error))

    def _refused(self, error: stripe.StripeError) -> bool:
        """Whether surely nothing was done, now or by an earlier try with the same key."""
        # The answer to a known key comes before validation: a request that is invalid was never carried out.
        return isinstance(error, stripe.InvalidRequestError) or (
            isinstance(error, _NOT_DONE) and not self._http.may_have_arrived
        )


#: Answers that say that this try did nothing; an earlier one may have.
_NOT_DONE = (
    stripe.AuthenticationError,
    stripe.PermissionError,
    stripe.RateLimitError,
    stripe.APIConnectionError,
)


def _metadata(subject: Any, name: str) -> Any:
    # The SDK's objects are read like dicts, but have no get.
    return subject.metadata[name] if subject.metadata and name in subject.metadata else None


def _reason(error: stripe.StripeError) -> str:
    return f"{type(error).__name__} {error.http_status or ''} {error.code or ''}".strip()


def _decline(error: Any, code: str | None) -> Declined:
    intent = getattr(error, "payment_intent", None)
    return Declined(decline_for(getattr(error, "decline_code", None), code), getattr(intent, "id", None))


def _outcome_of_intent(intent: stripe.PaymentIntent) -> PaymentOutcome:
    match intent.status:
        case "succeeded":
            return Charged(intent.id, *_card_of(intent))
        case "requires_action":
            redirect = intent.next_action and getattr(intent.next_action, "redirect_to_url", None)
            return ActionRequired(intent.id, intent.client_secret or "", redirect.url if redirect else None)
        case "requires_payment_method" | "canceled":
            error = intent.last_payment_error
            return _decline(error, getattr(error, "code", None))
        case status:
            return Unknown(f"payment intent is {status}", intent.id)


def _outcome_of_refund(refund: stripe.Refund) -> RefundOutcome:
    # https://docs.stripe.com/api/refunds/object#refund_object-status
    match refund.status:
        case "failed" | "canceled":
            return Refused(f"refund {refund.status}")
        case "succeeded":
            return Refunded(refund.id)
        case status:
            return Unknown(f"refund is {status}", refund.id)


def _card_of(intent: stripe.PaymentIntent) -> tuple[str | None, str | None]:
    charge = intent.latest_charge
    details = charge.payment_method_details if isinstance(charge, stripe.Charge) else None
    card = getattr(details, "card", None)
    return (card.brand, card.last4) if card else (None, None)
