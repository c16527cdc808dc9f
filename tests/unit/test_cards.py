from datetime import UTC, datetime

import pytest

from app.errors import CardExpired, InvalidCard
from app.gateway import CardDetails
from app.gateway.stripe.test_cards import TEST_METHODS, method_for
from app.payments.cards import check_card

NOW = datetime(2026, 12, 31, 23, 59, tzinfo=UTC)


def card(
    number: str = "4242424242424242", cvv: str = "123", month: int = 12, year: int = 2030
) -> CardDetails:
    return CardDetails(number=number, cvv=cvv, month=month, year=year)


@pytest.mark.parametrize("number", sorted(TEST_METHODS))
def test_test_numbers_are_valid_and_map_to_payment_methods(number: str) -> None:
    cvv = "1234" if number.startswith("37") else "123"
    check_card(card(number, cvv), NOW)
    assert method_for(number).startswith("pm_card_")


@pytest.mark.parametrize(
    "number", ["4242424242424241", "4242", "4" * 20, "", "4242x24242424242", "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢"]
)
def test_an_invalid_number_has_its_own_error(number: str) -> None:
    with pytest.raises(InvalidCard) as refused:
        check_card(card(number), NOW)
    assert refused.value.details == {"field": "card_number"}


@pytest.mark.parametrize(
    ("number", "cvv"), [("4242424242424242", "1234"), ("378282246310005", "123"), ("4242424242424242", "12a")]
)
def test_an_invalid_security_code_has_its_own_error(number: str, cvv: str) -> None:
    with pytest.raises(InvalidCard) as refused:
        check_card(card(number, cvv), NOW)
    assert refused.value.details == {"field": "cvv"}


def test_a_card_is_valid_until_the_end_of_its_month() -> None:
    check_card(card(month=12, year=2026), NOW)
    with pytest.raises(CardExpired):
        check_card(card(month=11, year=2026), NOW)


@pytest.mark.parametrize("month", [0, 13])
def test_an_invalid_month_is_refused(month: int) -> None:
    with pytest.raises(InvalidCard):
        check_card(card(month=month), NOW)


def test_the_repr_of_a_card_shows_no_card_data() -> None:
    assert repr(card()) == "CardDetails()"
