"""STOP, START, and HELP in every supported language, and the meanings of error codes."""

import pytest

from app.feedback.keywords import _REPLIES, Action, recognize, reply
from app.feedback.sms_errors import ERRORS, LASTING, meaning


@pytest.mark.parametrize(
    ("text", "action", "language"),
    [
        ("STOP", "stop", "en"),
        (" stop.\n", "stop", "en"),
        ("Opt-Out", "stop", "en"),
        ("Start", "start", "en"),
        ("info?", "help", "en"),
        ("Stopp!", "stop", "de"),
        ("Hilfe", "help", "de"),
        ("parar", "stop", "es"),
        ("Arrêt", "stop", "fr"),
        ("désabonner", "stop", "fr"),
        ("FERMA", "stop", "it"),
        ("Começar", "start", "pt"),
        ("wznów", "start", "pl"),
        ("إلغاء", "stop", "ar"),
        ("الغاء", "stop", "ar"),
        ("ابدأ", "start", "ar"),
        ("停止", "stop", "ja"),
        ("ｽﾄｯﾌﾟ", "stop", "ja"),
        ("ヘルプ", "help", "ja"),
        ("ＳＴＯＰ", "stop", "en"),
    ],
)
def test_keywords_are_recognized(text: str, action: str, language: str) -> None:
    found = recognize(text)
    assert found is not None
    assert (found.action, found.language, found.is_answered_by_twilio) == (action, language, language == "en")


@pytest.mark.parametrize("text", ["", "!", "Please stop", "Where is my ticket?", "STOP" * 100])
def test_other_texts_are_not_keywords(text: str) -> None:
    assert recognize(text) is None


def test_every_language_has_every_reply_and_its_stop_keyword() -> None:
    for language, replies in _REPLIES.items():
        assert replies.keys() == set(Action), language
        words = (
            replies[Action.HELP].format(sender="", contact="").replace("「", " ").replace("」", " ").split()
        )
        stops = [found for found in map(recognize, words) if found and found.action is Action.STOP]
        assert {found.language for found in stops} == {language}


def test_help_names_the_support_address() -> None:
    found = recognize("AIDE")
    assert found is not None
    assert reply(found, "Odeon", "help@example.com").startswith("Odeon : ")
    assert reply(found, "Odeon", "help@example.com").endswith(" help@example.com")
    assert reply(found, "Odeon", "").endswith("arrêter.")


def test_an_error_code_is_explained() -> None:
    assert meaning(30003) == f"not delivered, error 30003: {ERRORS[30003]}"
    assert meaning(39999).endswith("https://www.twilio.com/docs/api/errors/39999")
    assert meaning(None) == "not delivered; Twilio gave no reason"
    assert ERRORS.keys() >= LASTING
