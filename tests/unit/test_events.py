import pytest

from app.events.catalog import CATALOG, check_event
from app.events.decode import InvalidEvent
from app.events.samples import sample, sample_names


@pytest.mark.parametrize("name", sample_names())
def test_every_sample_is_accepted(name: str) -> None:
    sent = sample(name)
    checked, kind = check_event(sent)
    assert kind is CATALOG[sent["event_type"]]
    assert checked["event_id"] == sent["event_id"]


def test_every_event_type_has_a_sample() -> None:
    assert {sample(name)["event_type"] for name in sample_names()} == set(CATALOG)


def test_null_means_absent_at_every_depth() -> None:
    sent = sample("booking.cancelled")
    sent["cinema_name"] = None
    sent["alternative_showtimes"][0]["cinema_name"] = None
    checked, _ = check_event(sent)
    assert "cinema_name" not in checked
    assert "cinema_name" not in checked["alternative_showtimes"][0]


def test_unknown_fields_pass_through() -> None:
    checked, _ = check_event(sample("payment.success") | {"loyalty_points": 12})
    assert checked["loyalty_points"] == 12


def test_a_missing_or_null_required_field_is_named() -> None:
    sent = sample("booking.confirmed") | {"movie_title": None}
    del sent["seats"]
    with pytest.raises(InvalidEvent, match=r"booking\.confirmed: movie_title: .*; seats: "):
        check_event(sent)


@pytest.mark.parametrize("amount", [True, "lots", "NaN", -1, [], "1e999999999999999999999"])
def test_an_amount_that_is_not_a_number_is_refused(amount: object) -> None:
    with pytest.raises(InvalidEvent, match="amount"):
        check_event(sample("payment.success") | {"amount": amount})


@pytest.mark.parametrize("amount", [30, 30.5, "30.00"])
def test_amounts_may_be_numbers_or_strings(amount: object) -> None:
    check_event(sample("payment.success") | {"amount": amount})


def test_an_unknown_event_type_is_refused_and_named() -> None:
    with pytest.raises(InvalidEvent, match=r"unknown event_type 'booking\.moved'"):
        check_event({"event_id": "evt_1", "event_type": "booking.moved"})
