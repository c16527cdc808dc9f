"""Stripe through its own SDK, reduced to the calls we make and the answers we can tell apart."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import stripe

from app.errors import GatewayError
from app.gateway.bulkhead import Bulkhead
from app.gateway.http_client import HTTPClient
from app.gateway.outcomes import Declined, PaymentOutcome, RefundOutcome, Refused, Unknown
from app.gateway.reading import (
    NOT_DONE,
    Answer,
    decline_of,
    metadata,
    payment_outcome,
    reason,
    refund_outcome,
)
from app.gateway.statement import GatewayPayment, GatewayRefund

if TYPE_CHECKING:
    from datetime import datetime

    from stripe.params import (
        PaymentIntentListParams,
        PaymentMethodCreateParams,
        RefundListParams,
    )

    from app.gateway.orders import CardDetails, Charge
    from app.settings import Settings

#: An InvalidRequestError about one of these is about the amount, which the caller can mend.
_AMOUNT_CODES = {"amount_too_small", "amount_too_large", "invalid_charge_amount"}

#: With each request the SDK would tell Stripe of this machine, and how long the request before it took.
stripe.enable_telemetry = False

#: For so long the same request may be sent again with its key. Stripe forgets a key after 24 hours, and would
#: then charge, or refund, once more.
KEY_REMEMBERED = timedelta(hours=20)

#: Seconds that Stripe's clock may be behind ours, and that a charge may take to reach Stripe.
_CLOCK_SKEW = 300
_LONGEST_CALL = 3_600


class StripeGateway:
    """Charges cards. Safe to share between threads and to make before a fork."""

    def __init__(self, settings: Settings) -> None:
        self._http = HTTPClient(
            settings.payment_gateway_url,
            (settings.payment_gateway_connect_timeout, settings.payment_gateway_read_timeout),
            settings.web_threads,
        )
        self._stripe = stripe.StripeClient(
            settings.payment_gateway_api_key.get_secret_value() or "sk_not_configured",
            base_addresses={"api": settings.payment_gateway_url.rstrip("/")},
            http_client=self._http,
            max_network_retries=settings.payment_gateway_max_retries,
        )
        self._bulkhead = Bulkhead(settings.gateway_calls)

    def admitted(self) -> AbstractContextManager[None]:
        """Room for a call that somebody waits for; see `Bulkhead.admitted`."""
        return self._bulkhead.admitted()

    def clock(self) -> datetime:
        """The gateway's time, as of an answer to our key.

        Raises:
            GatewayError: it did not answer, or does not take the key.
        """
        with _answering():
            answer = cast("stripe.StripeResponse", self._stripe.v1.balance.retrieve().last_response)
        return parsedate_to_datetime(answer.headers["Date"])

    def tokenize(self, card: CardDetails) -> str | Declined | Refused:
        """Turn a raw card into a PaymentMethod id (`pm_…`). Charges nothing, and the card is not kept."""
        details = {
            "number": card.number,
            "cvc": card.cvv,
            "exp_month": card.month,
            "exp_year": card.year,
        }
        self._http.begin(asked_before=False)
        try:
            method = self._stripe.v1.payment_methods.create(
                cast("PaymentMethodCreateParams", {"type": "card", "card": details})
            )
        except stripe.CardError as error:
            return _decline_of(error)
        except stripe.StripeError as error:
            return Refused(reason(error))
        return method.id

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
            intent = self._ask("post", "/v1/payment_intents", params, charge.transaction_id)
        except stripe.StripeError as error:
            return self._outcome_of_error(error)
        return payment_outcome(intent)

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
        params = {
            "payment_intent": gateway_id,
            "amount": minor_amount,
            "metadata": {"refund_transaction_id": refund_id},
        }
        self._http.begin(asked_before=asked_before)
        try:
            refund = self._ask("post", "/v1/refunds", params, refund_id)
        except stripe.StripeError as error:
            if isinstance(error, stripe.CardError) or self._refused(error):
                return Refused(reason(error))
            return Unknown(reason(error))
        return refund_outcome(refund)

    def find_refund(self, refund_id: str, gateway_id: str) -> RefundOutcome:
        """What became of a refund whose idempotency key Stripe may have forgotten."""
        try:
            for refund in self.refunds(payment=gateway_id):
                if refund.refund_id == refund_id:
                    return refund.outcome
        except GatewayError as error:
            return Unknown(error.message)
        return Refused("it never reached the gateway")

    def retrieve(self, gateway_id: str) -> PaymentOutcome:
        """What became of a PaymentIntent. No answer is no knowledge."""
        try:
            intent = self._ask("get", _path(gateway_id), {"expand": ["latest_charge"]})
        except stripe.StripeError as error:
            return Unknown(reason(error), gateway_id)
        return payment_outcome(intent)

    def transaction_of(self, gateway_id: str) -> str | None:
        """Our transaction's id, as a PaymentIntent carries it; None if it is not one of ours.

        Raises:
            GatewayError: the gateway did not say.
        """
        with _answering():
            try:
                found: str | None = metadata(
                    self._stripe.v1.payment_intents.retrieve(gateway_id), "transaction_id"
                )
            except stripe.InvalidRequestError:  # there is none
                return None
        return found

    def cancel(self, gateway_id: str) -> PaymentOutcome:
        """End a PaymentIntent that waits for its customer, so that nobody can confirm it any more.

        Returns:
            How it stands then: also charged, if the customer was faster.
        """
        try:
            params = {"cancellation_reason": "abandoned", "expand": ["latest_charge"]}
            intent = self._ask("post", f"{_path(gateway_id)}/cancel", params)
        except stripe.InvalidRequestError:  # it is in no state that can be canceled
            return self.retrieve(gateway_id)
        except stripe.StripeError as error:
            return Unknown(reason(error), gateway_id)
        return payment_outcome(intent)

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
                if metadata(intent, "transaction_id") == transaction_id:
                    return self.retrieve(intent.id)
        except stripe.StripeError as error:
            return Unknown(reason(error))
        return Refused("it never reached the gateway")

    def payments_since(self, since: datetime) -> Iterator[GatewayPayment]:
        """Every PaymentIntent that this service has made since then, newest first.

        Raises:
            GatewayError: the gateway did not list them all.
        """
        params = {"created": {"gte": int(since.timestamp())}, "limit": 100}
        with _answering():
            page = self._stripe.v1.payment_intents.list(cast("PaymentIntentListParams", params))
            for intent in page.auto_paging_iter():
                if payment := GatewayPayment.of(intent):
                    yield payment

    def refunds(
        self, *, payment: str | None = None, since: datetime | None = None
    ) -> Iterator[GatewayRefund]:
        """Refunds, newest first: all, or those of one payment (a PaymentIntent's id) or since then.

        Raises:
            GatewayError: the gateway did not list them all.
        """
        params: dict[str, Any] = {"limit": 100}
        if payment:
            params["payment_intent"] = payment
        if since:
            params["created"] = {"gte": int(since.timestamp())}
        with _answering():
            page = self._stripe.v1.refunds.list(cast("RefundListParams", params))
            for refund in page.auto_paging_iter():
                yield GatewayRefund.of(refund)

    def _ask(
        self, method: str, path: str, params: Mapping[str, Any], idempotency_key: str | None = None
    ) -> Answer:
        """Call the gateway and take its answer as parsed JSON.

        The SDK's typed objects cost half a millisecond of processor time for a PaymentIntent with its charge;
        where that does not count, they are used.

        Raises:
            stripe.StripeError: an error, or no answer.
        """
        options = {"idempotency_key": idempotency_key} if idempotency_key else {}
        answer = self._stripe.raw_request(method, path, **params, **options)
        return cast("Answer", answer.data)

    def _outcome_of_error(self, error: stripe.StripeError) -> PaymentOutcome:
        if isinstance(error, stripe.CardError):
            return _decline_of(error)
        if self._refused(error):
            return Refused(reason(error), bad_amount=error.code in _AMOUNT_CODES)
        return Unknown(reason(error))

    def _refused(self, error: stripe.StripeError) -> bool:
        """Whether surely nothing was done, now or by an earlier try with the same key."""
        # The answer to a known key comes before validation: a request that is invalid was never carried out.
        return isinstance(error, stripe.InvalidRequestError) or (
            isinstance(error, NOT_DONE) and not self._http.may_have_arrived
        )


def _path(gateway_id: str) -> str:
    return f"/v1/payment_intents/{quote(gateway_id, safe='')}"


def _decline_of(error: stripe.CardError) -> Declined:
    return decline_of(cast("dict[str, Answer]", error.json_body)["error"])


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except stripe.StripeError as error:
        raise GatewayError(f"The gateway did not answer: {reason(error)}.") from error
