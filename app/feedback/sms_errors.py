"""Meanings of the error codes in Twilio's receipts: https://www.twilio.com/docs/api/errors."""

from __future__ import annotations

#: The owner of the number has unsubscribed.
UNSUBSCRIBED = 21610

#: Code → its meaning, for operators.
ERRORS = {
    21610: "the owner of the number has unsubscribed, for example by STOP",
    30001: "Twilio's queue for the account is full: messages came faster than the sender may send",
    30002: "the Twilio account was suspended while the message was queued",
    30003: "the phone is off, out of coverage, or can't receive messages now",
    30004: "the recipient's phone or carrier blocks messages from the sender",
    30005: "the number is unknown, or no longer in use",
    30006: "the number is a landline, or its carrier can't be reached from the sender",
    30007: "Twilio or the carrier filtered the message, for example as spam",
    30008: "the carrier gave no reason",
    30010: "the message costs more than the account allows",
    30017: "the carrier's network is congested",
    30018: "the country requires a registered sender",
    30019: "the message is larger than the carrier allows",
    30022: "the sender exceeded the carrier's rate limit",
    30023: "the sender reached the carrier's daily message limit",
    30024: "the carrier has not set up the sender yet",
    30032: "the toll-free sender is not verified",
    30033: "the sender's campaign was suspended",
    30034: "the sender is not registered for US carriers (A2P 10DLC)",
    30035: "the sender is still being set up for US carriers (A2P 10DLC)",
    30036: "the message was not delivered within its validity period",
    30042: "the sender id is blocked, because it is generic or has special characters",
    30410: "the carrier did not respond in time",
    30453: "Twilio temporarily blocks messages to the number, because it suspects SMS pumping",
    30454: "the account exceeded Twilio's message limit",
    30500: "an internal error at Twilio",
}

#: Codes after which no further message can arrive: the number is suppressed.
LASTING = frozenset({30005, 30006})


def meaning(code: int | None) -> str:
    """Return the code and its meaning, for an operator."""
    if code is None:
        return "not delivered; Twilio gave no reason"
    known = ERRORS.get(code, f"https://www.twilio.com/docs/api/errors/{code}")
    return f"not delivered, error {code}: {known}"
