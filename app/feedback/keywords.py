"""Recognize STOP, START, and HELP in every supported language, and reply to them.

Twilio handles the English words and blocks further messages. Only movieapp knows the other languages:
https://help.twilio.com/articles/223134027
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from enum import StrEnum


class Action(StrEnum):
    """What a keyword asks for."""

    STOP = "stop"
    START = "start"
    HELP = "help"


@dataclass(frozen=True)
class Keyword:
    """A recognized keyword.

    Attributes:
        action: what it asks for.
        language: of the word: ISO 639.
        is_answered_by_twilio: whether Twilio itself replies to it, unless the sender is a short code.
    """

    action: Action
    language: str
    is_answered_by_twilio: bool = False


#: Keywords that Twilio handles and replies to.
_TWILIO_KEYWORDS: dict[Action, tuple[str, str]] = {
    Action.STOP: (
        "en",
        "STOP STOPALL UNSUBSCRIBE CANCEL END QUIT REVOKE OPTOUT",
    ),
    Action.START: ("en", "START YES UNSTOP"),
    Action.HELP: ("en", "HELP INFO"),
}

#: Language → the keywords of each action. A keyword of two languages counts for the first.
_LOCAL_KEYWORDS: dict[str, dict[Action, str]] = {
    "de": {
        Action.STOP: "STOPP ABBESTELLEN ABMELDEN BEENDEN",
        Action.START: "STARTEN ANMELDEN FORTSETZEN",
        Action.HELP: "HILFE",
    },
    "es": {
        Action.STOP: "PARAR ALTO BAJA DETENER CANCELAR",
        Action.START: "INICIAR ALTA REANUDAR",
        Action.HELP: "AYUDA",
    },
    "fr": {
        Action.STOP: "ARRET ARRETE ARRETER DESABONNER",
        Action.START: "DEMARRER REPRENDRE COMMENCER",
        Action.HELP: "AIDE",
    },
    "it": {
        Action.STOP: "FERMA FERMARE BASTA DISISCRIVI",
        Action.START: "INIZIA AVVIA RIPRENDI",
        Action.HELP: "AIUTO",
    },
    "pt": {
        Action.STOP: "PARE SAIR DESCADASTRAR",
        Action.START: "COMECAR VOLTAR RETOMAR",
        Action.HELP: "AJUDA",
    },
    "pl": {
        Action.STOP: "WYPISZ KONIEC ZATRZYMAJ",
        Action.START: "WZNOW ZAPISZ ROZPOCZNIJ",
        Action.HELP: "POMOC",
    },
    "ar": {
        Action.STOP: "إيقاف أوقف توقف إلغاء",
        Action.START: "ابدأ بدء استئناف",
        Action.HELP: "مساعدة",
    },
    "ja": {
        Action.STOP: "停止 配信停止 ストップ 解除",
        Action.START: "開始 再開 スタート",
        Action.HELP: "ヘルプ",
    },
}

#: Language → the reply to each action.
_REPLIES: dict[str, dict[Action, str]] = {
    "en": {
        Action.STOP: "{sender}: You will get no more messages. Reply START to get them again.",
        Action.START: "{sender}: You will get messages about your bookings again. Reply STOP to end them.",
        Action.HELP: "{sender}: Messages about your bookings and payments. Reply STOP to end them.{contact}",
    },
    "de": {
        Action.STOP: "{sender}: Sie erhalten keine Nachrichten mehr. Mit STARTEN erhalten Sie sie wieder.",
        Action.START: "{sender}: Sie erhalten wieder Nachrichten zu Ihren Buchungen. Mit STOPP enden sie.",
        Action.HELP: "{sender}: Nachrichten zu Ihren Buchungen und Zahlungen. Mit STOPP enden sie.{contact}",
    },
    "es": {
        Action.STOP: "{sender}: No recibirá más mensajes. Responda INICIAR para volver a recibirlos.",
        Action.START: "{sender}: Volverá a recibir mensajes. Responda PARAR para dejarlos.",
        Action.HELP: "{sender}: Mensajes sobre sus reservas y pagos. Responda PARAR para dejarlos.{contact}",
    },
    "fr": {
        Action.STOP: "{sender} : vous ne recevrez plus de messages. Répondez REPRENDRE pour en recevoir.",
        Action.START: "{sender} : vous recevrez à nouveau des messages. Répondez ARRET pour les arrêter.",
        Action.HELP: "{sender} : messages sur vos réservations. Répondez ARRET pour les arrêter.{contact}",
    },
    "it": {
        Action.STOP: "{sender}: Non riceverà più messaggi. Risponda RIPRENDI per riceverli di nuovo.",
        Action.START: "{sender}: Riceverà di nuovo messaggi sulle prenotazioni. Risponda FERMA per smettere.",
        Action.HELP: "{sender}: Messaggi su prenotazioni e pagamenti. Risponda FERMA per smettere.{contact}",
    },
    "pt": {
        Action.STOP: "{sender}: Você não receberá mais mensagens. Responda VOLTAR para recebê-las de novo.",
        Action.START: "{sender}: Você voltará a receber mensagens. Responda SAIR para não recebê-las.",
        Action.HELP: "{sender}: Mensagens sobre suas reservas. Responda SAIR para não recebê-las.{contact}",
    },
    "pl": {
        Action.STOP: "{sender}: Nie będziemy już wysyłać wiadomości. Odpisz WZNOW, aby je wznowić.",
        Action.START: "{sender}: Znów będziemy wysyłać wiadomości. Odpisz WYPISZ, aby je zatrzymać.",
        Action.HELP: "{sender}: Wiadomości o rezerwacjach. Odpisz WYPISZ, aby je zatrzymać.{contact}",
    },
    "ar": {
        Action.STOP: "{sender}: لن تصلك رسائل بعد الآن. أرسل ابدأ لاستلامها مجددا.",
        Action.START: "{sender}: ستصلك الرسائل مجددا. أرسل إيقاف لإيقافها.",
        Action.HELP: "{sender}: رسائل عن حجوزاتك ومدفوعاتك. أرسل إيقاف لإيقافها.{contact}",
    },
    "ja": {
        Action.STOP: "{sender}: 今後は送信しません。再開するには「再開」と返信してください。",
        Action.START: "{sender}: 送信を再開しました。止めるには「停止」と返信してください。",
        Action.HELP: "{sender}: ご予約のお知らせです。止めるには「停止」と返信してください。{contact}",
    },
}


def recognize(text: str) -> Keyword | None:
    """Return the keyword that a message consists of; None if it says anything else.

    Case, accents, and punctuation do not matter. Like Twilio, it does not treat "Please stop" as a keyword.
    """
    return _KEYWORDS.get(_folded(text))


def reply(keyword: Keyword, sender: str, support_email: str) -> str:
    """Return the reply to a keyword, in its language.

    Args:
        keyword: the recognized keyword.
        sender: name of the sender.
        support_email: "" if there is none.
    """
    contact = f" {support_email}" if support_email else ""
    return _REPLIES[keyword.language][keyword.action].format(sender=sender, contact=contact)


def _folded(text: str) -> str:
    """Return only the letters and digits, without case and marks."""
    decomposed = unicodedata.normalize("NFKD", text[:100]).casefold()
    return "".join(char for char in decomposed if char.isalnum())


_KEYWORDS = {
    _folded(word): Keyword(action, language)
    for language, words in reversed(_LOCAL_KEYWORDS.items())
    for action, found in words.items()
    for word in found.split()
} | {
    _folded(word): Keyword(action, language, is_answered_by_twilio=True)
    for action, (language, words) in _TWILIO_KEYWORDS.items()
    for word in words.split()
}
