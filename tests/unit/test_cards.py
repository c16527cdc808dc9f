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
def test_the_well_known_test_numbers_pass_and_map_to_payment_methods(number: str) -> None:
    cvv = "1234" if number.startswith("37") else "123"
    check_card(card(number, cvv), NOW)
    assert method_for(number).startswith("pm_card_")


@pytest.mark.parametrize(
    "number", ["4242424242424241", "4242", "4" * 20, "", "4242x24242424242", "٤٢٤٢٤٢٤٢٤٢٤٢٤٢٤٢"]
)
def test_a_wrong_number_is_told_apart(number: str) -> None:
    with pytest.raises(InvalidCard) as refused:
        check_card(card(number), NOW)
    assert refused.value.details == {"field": "card_number"}


@pytest.mark.parametrize(
    ("number", "cvv"), [("4242424242424242", "1234"), ("378282246310005", "123"), ("4242424242424242", "12a")]
)
def test_a_wrong_security_code_is_told_apart(number: str, cvv: str) -> None:
    with pytest.raises(InvalidCard) as refused:
        check_card(card(number, cvv), NOW)
    assert refused.value.details == {"field": "cvv"}


def test_a_card_is_good_to_the_end_of_its_month() -> None:
    check_card(card(month=12, year=2026), NOW)
    with pytest.raises(CardExpired):
        check_card(card(month=11, year=2026), NOW)


@pytest.mark.parametrize("month", [0, 13])
def test_a_month_that_is_none_is_refused(month: int) -> None:
    with pytest.raises(InvalidCard):
        check_card(card(month=month), NOW)


def test_a_card_shows_nothing_of_itself() -> None:
    assert repr(card()) == "CardDetails()"
