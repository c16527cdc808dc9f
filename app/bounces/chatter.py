"""Recognize messages that are not bounces: auto-replies, challenges, delays, lists."""

from __future__ import annotations

import re

from app.bounces.reading import Returned
from app.bounces.report import OtherMail

_AUTO_REPLY_HEADERS = ("X-Autoreply", "X-Autorespond", "X-Autoresponder", "X-Auto-Reply", "X-Mail-Autoreply",
                       "X-MS-Exchange-Inbox-Rules-Loop", "X-Vacation", "X-Yahoo-Autoreply")  # fmt: skip
_LIST_HEADERS = ("List-Id", "List-Post", "Mailing-List", "X-Mailman-Version", "X-BeenThere")
_AUTO_PRECEDENCE = re.compile(r"auto.?reply|junk", re.IGNORECASE)
_LIST_PRECEDENCE = re.compile(r"bulk|list", re.IGNORECASE)

_AUTO_REPLY_SUBJECT = re.compile(
    r"out[ -]of[ -](the )?office|automatic reply|auto[ -]?(matic)? ?(reply|response|answer)|vacation"
    r"|away from"
    r"|on (annual |parental |sick )?leave|autosvar|autom(atisk)? svar|frånvar|fravær|poissa"
    r"|abwesen|automatische (antwort|abwesenheit)|urlaub"
    r"|r[ée]ponse automatique|absen[ct]|cong[ée]s"
    r"|respuesta autom|fuera de (la )?oficina|ausen|resposta autom|fora do escrit"
    r"|risposta automatica|fuori (sede|ufficio)|automatisch antwoord|afwezig"
    r"|odpowied[źz] automatyczna|automatyczna odpowied|nieobecno|automatická odpověď"
    r"|автоответ|автоматический ответ|отпуск|отсутств"
    r"|自動(応答|返信)|不在|自动(回复|答复)|自動回覆|休假|رد تلقائي|خارج المكتب|otomatik yanıt",
    re.IGNORECASE,
)

_CHALLENGE_SUBJECT = re.compile(
    r"(please )?(confirm|verify) (your|the|that you|this) (message|e?-?mail|sender|sent|identity|address)"
    r"|\[?boxbe|spam ?arrest|sender (verification|confirmation|authentication)|confirmation required"
    r"|challenge|waiting for (your )?(approval|confirmation|verification)"
    r"|requires (your )?(confirmation|verification)"
    r"|bestätigen sie (ihre|bitte)|подтвердите",
    re.IGNORECASE,
)
_CHALLENGE_TEXT = re.compile(
    r"(click|follow|reply|answer|respond).{0,120}(confirm|verify|prove|be delivered|deliver your"
    r"|approved? sender)"
    r"|you are (a human|not a spammer)|challenge.response|guest ?list",
    re.IGNORECASE | re.DOTALL,
)

_DELAY_SUBJECT = re.compile(
    r"\bdelay|verz[öo]ger|retard[ée]|retras|atras|ritard|opóźn|задерж|延迟|遅延"
    r"|could not send message for past",
    re.IGNORECASE,
)
_DELAY_TEXT = re.compile(
    r"this is a warning message only|will (continue|keep) (on )?(trying|to (try|retry|attempt))"
    r"|will keep trying|will be retried|will retry|delivery attempts will continue"
    r"|you do not need to resend|no action is required|not yet been delivered|still trying"
    r"|still being (re)?tried"
    r"|wird weiter(hin)? versucht|nouvelle tentative|seguir[áa] intent"
    r"|попытки.{0,20}продолж|继续尝试|再送を(試み|続け)",
    re.IGNORECASE,
)
_GIVEN_UP_TEXT = re.compile(
    r"giv(en|ing) up|permanent|no longer|will not be retried|too long|expired|has failed|failed permanently",
    re.IGNORECASE,
)


def reports_delay(message: Returned) -> bool:
    """Return whether a server reports a delay and keeps trying."""
    if _DELAY_TEXT.search(message.text):
        return True
    return bool(_DELAY_SUBJECT.search(message.header("Subject"))) and not _GIVEN_UP_TEXT.search(message.text)


def automatic(message: Returned) -> OtherMail | None:
    """Return the kind of an automatic message that is not a bounce; None if it can't be recognized."""
    subject = message.header("Subject")
    if any(name in message.headers for name in _LIST_HEADERS):
        return OtherMail.MAILING_LIST
    if _CHALLENGE_SUBJECT.search(subject) and _CHALLENGE_TEXT.search(message.text):
        return OtherMail.CHALLENGE
    submitted = message.header("Auto-Submitted").lower()
    if (
        (submitted and submitted != "no")
        or any(name in message.headers for name in _AUTO_REPLY_HEADERS)
        or _AUTO_PRECEDENCE.search(message.header("Precedence"))
        or _AUTO_REPLY_SUBJECT.search(subject)
    ):
        return OtherMail.AUTO_REPLY
    if _LIST_PRECEDENCE.search(message.header("Precedence")):
        return OtherMail.MAILING_LIST
    return None


def is_absence_notice(message: Returned) -> bool:
    """Return whether the subject is that of an absence notice."""
    return bool(_AUTO_REPLY_SUBJECT.search(message.header("Subject")))
