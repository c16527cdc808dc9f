"""Every Stripe code with its own message, and those that must not have one."""

from pathlib import Path
from typing import Any

import pytest

from app import declines
from app.gateway.stripe import declines as stripe_declines
from app.gateway.stripe.declines import decline_for

BY_CODE = {
    "insufficient_funds": declines.FUNDS,
    "withdrawal_count_limit_exceeded": declines.LIMIT,
    "card_velocity_exceeded": declines.LIMIT,
    "expired_card": declines.EXPIRED,
    "incorrect_number": declines.NUMBER,
    "invalid_number": declines.NUMBER,
    "incorrect_cvc": declines.CVC,
    "invalid_cvc": declines.CVC,
    "invalid_expiry_month": declines.EXPIRY,
    "invalid_expiry_year": declines.EXPIRY,
    "incorrect_address": declines.DETAILS,
    "incorrect_zip": declines.DETAILS,
    "processing_error": declines.PROCESSING,
    "issuer_not_available": declines.PROCESSING,
    "reenter_transaction": declines.PROCESSING,
    "try_again_later": declines.PROCESSING,
    "approve_with_id": declines.PROCESSING,
    "no_action_taken": declines.LATER,
    "authentication_required": declines.AUTHENTICATION,
    "authentication_not_handled": declines.AUTHENTICATION,
    "mobile_device_authentication_required": declines.AUTHENTICATION,
    "payment_intent_authentication_failure": declines.AUTHENTICATION,
    "card_not_supported": declines.UNSUPPORTED,
    "currency_not_supported": declines.UNSUPPORTED,
    "invalid_account": declines.UNSUPPORTED,
    "new_account_information_available": declines.UNSUPPORTED,
    "not_permitted": declines.UNSUPPORTED,
    "service_not_allowed": declines.UNSUPPORTED,
    "transaction_not_allowed": declines.UNSUPPORTED,
    "revocation_of_all_authorizations": declines.STOPPED,
    "revocation_of_authorization": declines.STOPPED,
    "stop_payment_order": declines.STOPPED,
    "payment_method_provider_decline": declines.PROVIDER,
    "payment_method_provider_timeout": declines.PROVIDER,
    "payment_method_not_available": declines.PROVIDER,
    "payment_method_customer_decline": declines.CUSTOMER_CANCELED,
    "payment_intent_payment_attempt_expired": declines.NOT_CONFIRMED,
}
BY_ADVICE = {
    "try_again_later": declines.LATER,
    "confirm_card_data": declines.DETAILS,
    "do_not_try_again": declines.GENERIC,
}
SILENT = (
    "lost_card",
    "stolen_card",
    "pickup_card",
    "fraudulent",
    "merchant_blacklist",
    "security_violation",
)
PLAIN = ("generic_decline", "do_not_honor", "call_issuer", "restricted_card", "a_code_of_next_year")


def test_the_table_is_complete() -> None:
    assert set(BY_CODE) == set(stripe_declines._BY_CODE)
    assert set(BY_ADVICE) == set(stripe_declines._BY_ADVICE)
    assert set(SILENT) == set(stripe_declines._SILENT)


@pytest.mark.parametrize(("code", "row"), BY_CODE.items())
def test_a_code_has_its_row_as_decline_code_and_as_error_code(code: str, row: declines.Decline) -> None:
    assert decline_for({"code": "card_declined", "decline_code": code}) is row
    assert decline_for({"code": code}) is row
    assert decline_for({"code": code, "decline_code": None, "advice_code": "do_not_try_again"}) is row


@pytest.mark.parametrize(("advice", "row"), BY_ADVICE.items())
@pytest.mark.parametrize("code", PLAIN)
def test_advice_is_followed_if_the_code_gives_no_reason(
    advice: str, row: declines.Decline, code: str
) -> None:
    error = {"code": "card_declined", "decline_code": code, "advice_code": advice}
    assert decline_for(error) is row


@pytest.mark.parametrize("advice", [None, *BY_ADVICE, "advice_of_next_year"])
@pytest.mark.parametrize("code", SILENT)
def test_a_lost_stolen_or_suspected_card_looks_like_any_other_decline(code: str, advice: str | None) -> None:
    error = {"code": "card_declined", "decline_code": code, "advice_code": advice}
    assert decline_for(error) is declines.GENERIC


@pytest.mark.parametrize(
    "error",
    [
        {},
        {"code": None, "decline_code": None, "advice_code": None},
        {"code": "card_declined"},
        *({"code": "card_declined", "decline_code": code} for code in PLAIN),
    ],
)
def test_an_unknown_code_is_a_generic_decline(error: dict[str, Any]) -> None:
    assert decline_for(error) is declines.GENERIC


def test_the_decline_code_comes_before_the_error_code() -> None:
    assert decline_for({"code": "incorrect_cvc", "decline_code": "insufficient_funds"}) is declines.FUNDS


def test_every_row_is_listed() -> None:
    rows = {value for value in vars(declines).values() if isinstance(value, declines.Decline)}
    assert rows == declines.EVERY
    assert {*BY_CODE.values(), *BY_ADVICE.values()} <= declines.EVERY


def test_each_row_has_its_code_and_retry_advice() -> None:
    found = {(row.code, row.retry) for row in declines.EVERY}
    assert found == {
        ("CARD_DECLINED", "other_card"),
        ("CARD_DECLINED", "later"),
        ("CARD_DECLINED", "never"),
        ("INSUFFICIENT_FUNDS", "other_card"),
        ("INSUFFICIENT_FUNDS", "later"),
        ("CARD_EXPIRED", "other_card"),
        ("INVALID_CARD", "check_details"),
        ("CUSTOMER_CANCELED", "later"),
        ("PAYMENT_GATEWAY_ERROR", "later"),
        ("INVALID_AMOUNT", "never"),
    }


def test_our_rows_name_no_gateway() -> None:
    source = Path(declines.__file__).read_text()
    assert "stripe" not in source.lower()
