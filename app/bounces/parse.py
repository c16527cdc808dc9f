"""Parse a returned message: RFC 3464 delivery status notifications, and servers' own formats.

The standard's reports, and the replies in all others, are read here. flufl.bounce finds the recipient in the
formats of some two dozen servers. For others, the reply and the returned mail name it.
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterator
from email.message import Message
from email.utils import parseaddr

from flufl.bounce import all_failures

from app.bounces import chatter
from app.bounces.reading import Returned, TooComplex, decoded, read
from app.bounces.report import Bounce, NoBounce, OtherMail
from app.bounces.verdicts import judge
from app.card_numbers import mask_card_numbers
from app.channels import DELIVERY_ID_HEADER
from app.text import one_line

#: Maximum stored characters of a reply, and addresses of one report.
_LONGEST_REPLY, _MAX_RECIPIENTS = 500, 10

_ADDRESS = re.compile(r"[^\s<>()\[\]\",;:@]{1,64}@(?:[\w-]{1,63}\.){1,10}[^\W\d_][\w-]{1,62}")
_MESSAGE_ID = re.compile(r"<[^<>\s]{3,250}>")
_ID_LINE = r"^[>| \t*]{0,8}%s:[ \t]*(?:\r?\n[ \t>]*)?(<[^<>\s]{3,250}>)"
_MESSAGE_ID_LINE = re.compile(_ID_LINE % "Message-ID", re.IGNORECASE | re.MULTILINE)
_DELIVERY_ID_LINE = re.compile(_ID_LINE % DELIVERY_ID_HEADER, re.IGNORECASE | re.MULTILINE)
_ORIGINAL_TO_LINE = re.compile(r"^[>| \t*]{0,8}To:[^\n]{0,200}", re.IGNORECASE | re.MULTILINE)

#: First line of the returned mail in a report without parts.
_ORIGINAL_BEGINS = re.compile(
    r"^[ \t>*|=_-]{0,12}(this is a copy of|below (this|the next) line is a copy|a copy of (the"
    r"|your) (original )?message"
    r"|(start of )?(original|returned|unsent|old) (message|mail|e-mail)\b(?!.{0,40}(could|was) not)"
    r"|original message (headers|follows)|message header follows|headers of (the|your)"
    r"|ursprüngliche nachricht"
    r"|received:\s|return-path:\s|message-id:\s|原邮件|元のメッセージ|исходное (сообщение|письмо))",
    re.IGNORECASE | re.MULTILINE,
)

#: Local parts and names of programs that report.
_DAEMON = re.compile(
    r"mailer[-_. ]?daemon|post ?master|mail[-_ ]?daemon|mail delivery (sub)?system|mailadmin"
    r"|mail[-_]?administrator"
    r"|microsoft ?exchange|system administrator|^mailer@|^mdaemon|^daemon@|delivery[-_ ]?(subsystem"
    r"|notification|report)"
    r"|^bounces?[@+-]|mail server|^no-?reply@.*(bounce|mail)|postoffice|notes.{0,20}router|^maildelivery",
    re.IGNORECASE,
)
_FAILURE_SUBJECT = re.compile(
    r"undeliver|not deliverable|returned? (e-?)?mail|mail return|returned to sender|return to sender"
    r"|returning message|delivery.{0,30}(fail|error|problem)"
    r"|fail(ed|ure).{0,30}(deliver|notice|notif)|failure notice|mail.{0,20}(could not|cannot|can't) be"
    r"|not (be )?delivered|mail (failure|error)"
    r"|message (undeliver|not sent|rejected|bounced)|bounce|mail system error|user unknown|nondeliver"
    r"|non-deliver"
    r"|unzustellbar|nicht zustellbar|zustell.{0,20}(fehl|nicht)|fehlgeschlagen"
    r"|non (remis|d[ée]livr|distribu)|[ée]chec|no (se )?(pudo|puede|ha podido) |no entregad|devuelt"
    r"|fall[oa] (en|de) la entrega"
    r"|não (foi )?entregue|falha na entrega|devolvid|mancata consegna|nie dostarczon|zwrot"
    r"|не ?доставлен|недоставлен|невозможно доставить|ошибка доставки"
    r"|退信|退回|投递失败|无法投递|未送达|送信できません|配信(不能|でき|エラー)|不達|エラーメール",
    re.IGNORECASE,
)
_FAILURE_TEXT = re.compile(
    r"(could|can|was|were|did|has|have) ?n[o']t? .{0,60}(deliver|reach|sent)|unable to deliver"
    r"|undeliverable|deliver.{0,40}fail|fail.{0,40}deliver"
    r"|permanent (fatal )?error|returned to (the )?sender|rejected|user unknown|no such user"
    r"|mailbox (is )?full|not been delivered"
    r"|nicht zugestellt|konnte nicht|non (pu|remis|distribu)|no (pudo|se puede)|não (pôde|foi)"
    r"|не (может быть|удалось|было)|невозможно"
    r"|无法|失败|不存在|できません|できなかった|届けられません",
    re.IGNORECASE | re.DOTALL,
)
_REPLY_LINE = re.compile(r"(?<![\d.])[45][0-5]\d[ \-#:]|(?<![\d.])[45]\.\d{1,3}\.\d{1,3}(?![\d.])")

#: flufl.bounce logs each of its detectors.
logging.getLogger("flufl.bounce").setLevel(logging.CRITICAL)


def parse(raw: bytes) -> Bounce | NoBounce:
    """Parse a message from an untrusted sender. Never raises.

    Args:
        raw: the message as it came, RFC 5322.
    """
    try:
        return _parse(read(raw))
    except (TooComplex, RecursionError):
        return NoBounce(OtherMail.MALFORMED)
    except Exception:  # Python's email package may raise any exception for malformed headers
        return NoBounce(OtherMail.MALFORMED)


def _parse(message: Returned) -> Bounce | NoBounce:
    if message.blocks and (reported := _standard(message)):
        return reported
    if "message/disposition-notification" in message.types:
        return NoBounce(OtherMail.READ_RECEIPT)
    if "message/feedback-report" in message.types:
        return NoBounce(OtherMail.COMPLAINT)
    return _from_text(message)


def _standard(message: Returned) -> Bounce | NoBounce | None:
    """Read a delivery status notification (RFC 3464); None if it has no recipient's outcome."""
    outcomes = [(_action(block), block) for block in message.blocks]
    failed = [block for action, block in outcomes if action == "failed"]
    if not failed:
        others = {action for action, _ in outcomes if action}
        if not others:
            return None
        return NoBounce(OtherMail.DELAYED if "delayed" in others else OtherMail.DELIVERED)
    sent_to = _addresses(decoded(message.original.get("To")) if message.original else "")
    block = next((block for block in failed if set(sent_to) & set(_named(block))), failed[0])
    status = decoded(block.get("Status"))
    diagnostic = decoded(block.get("Diagnostic-Code")) or decoded(block.get("X-Diagnostic-Code"))
    kind, semicolon, words = diagnostic.partition(";")
    reply = words.strip() if semicolon and len(kind) < 40 else diagnostic
    if not reply or not re.search(r"[^\W\d_]", reply):
        reply = f"{reply} {_reply_in(_report_text(message), [*_named(block), *sent_to])}".strip()
    return _bounce(message, [*_named(block), *sent_to], status or None, reply)


def _action(block: Message) -> str:
    """Return failed, delayed, delivered, or "" for a block without a recipient."""
    word = decoded(block.get("Action")).lower()
    if word.startswith(("fail", "error")):
        return "failed"
    if word.startswith("delay"):
        return "delayed"
    if word:
        return "delivered"
    # Some servers omit Action.
    status = decoded(block.get("Status"))
    if "Final-Recipient" in block and status.startswith(("5", "4")):
        return "failed" if status.startswith("5") else "delayed"
    return ""


def _named(block: Message) -> list[str]:
    fields = ("Final-Recipient", "Original-Recipient", "X-Actual-Recipient")
    return [address for name in fields for address in _addresses(decoded(block.get(name)))]


def _from_text(message: Returned) -> Bounce | NoBounce:
    failed = _addresses(message.header("X-Failed-Recipients"))
    reporter = f"{message.header('From')} {message.header('Sender')}"
    from_daemon = bool(
        _DAEMON.search(parseaddr(message.header("From"))[1])
        or _DAEMON.search(reporter)
        or message.header("Return-Path") == "<>"
    )
    subject, text = message.header("Subject"), _report_text(message)
    if failed or (from_daemon and not chatter.is_absence_notice(message)):
        if chatter.reports_delay(message):
            return NoBounce(OtherMail.DELAYED)
        if failed or _FAILURE_SUBJECT.search(subject) or _reports_failure(text, message):
            recipients = failed or _recipients(message, text)
            if recipients:
                status = next(
                    (
                        found[0]
                        for found in re.finditer(r"(?<![\d.])[45]\.\d{1,3}\.\d{1,3}(?![\d.])", subject)
                    ),
                    None,
                )
                return _bounce(message, recipients, status, _reply_in(text, recipients) or subject)
    return NoBounce(chatter.automatic(message) or OtherMail.UNRECOGNIZED)


def _reports_failure(text: str, message: Returned) -> bool:
    """Return whether a daemon's text reports a failure, rather than mentions one."""
    return bool(_FAILURE_TEXT.search(text)) and (
        bool(_REPLY_LINE.search(text)) or message.original is not None or _message_id(message) is not None
    )


def _report_text(message: Returned) -> str:
    """Return the text before the returned mail."""
    begins = _ORIGINAL_BEGINS.search(message.text)
    # If it begins with the first line, the whole text is searched.
    return message.text[: begins.start()] if begins and begins.start() > 40 else message.text


def _recipients(message: Returned, text: str) -> list[str]:
    own_addresses = set(
        _addresses(f"{message.header('To')} {message.header('From')} {message.header('Sender')}")
    )
    sent_to = _addresses(decoded(message.original.get("To"))) if message.original else []
    if not sent_to and (line := _ORIGINAL_TO_LINE.search(message.text)):
        sent_to = _addresses(line[0])
    known = [each.decode("ascii", "replace").lower() for found in _by_flufl(message) for each in found]
    known = [each for found in known for each in _addresses(found)]
    named = [address for address in _addresses(text) if not _DAEMON.search(address)]
    candidates = [*known, *(each for each in named if each in sent_to), *sent_to, *named]
    return [each for each in dict.fromkeys(candidates) if each not in own_addresses][:1] + [
        each for each in sent_to if each not in own_addresses
    ]


def _by_flufl(message: Returned) -> tuple[frozenset[bytes], ...]:
    try:
        temporary, permanent = all_failures(message.start)
    except Exception:  # one of its detectors failed on an unexpected message
        return ()
    return frozenset(permanent), frozenset(temporary)


def _reply_in(text: str, recipients: list[str]) -> str:
    """Return the part of a report that gives the cause.

    The line with a reply code, else what follows the recipient's address, else the line that says what
    failed; each to the end of its paragraph.
    """
    lines = [line.strip(" \t>*|") for line in text.splitlines()]
    code = next((number for number, line in enumerate(lines) if _REPLY_LINE.search(line)), None)
    if code is not None:
        return _paragraph(lines, code)
    for number, line in enumerate(lines):
        if any(each in line.lower() for each in recipients):
            here = _paragraph(lines, number)
            if re.sub(r"\S+@\S+|\W", "", here):
                return here
            after = next((at for at in range(number + 1, len(lines)) if lines[at]), None)
            return here if after is None else _paragraph(lines, after)
    failed = next((number for number, line in enumerate(lines) if _FAILURE_TEXT.search(line)), 0)
    return _paragraph(lines, failed)


def _paragraph(lines: list[str], start: int) -> str:
    end = next((at for at in range(start + 1, len(lines)) if not lines[at]), len(lines))
    return " ".join(lines[start : min(end, start + 3)])


def _bounce(message: Returned, recipients: list[str], status: str | None, reply: str) -> Bounce:
    verdict, code = judge(status, reply)
    if code is None and not _REPLY_LINE.search(reply):
        verdict, code = judge(status, f"{reply} {_report_text(message)}")
    unique = tuple(dict.fromkeys(recipients))[:_MAX_RECIPIENTS]
    shown = mask_card_numbers(one_line(reply, _LONGEST_REPLY))
    message_id = _message_id(message)
    own_id = message.header("Message-ID")
    facts = own_id or f"{message.header('Date')}\0{unique}\0{code}\0{shown}\0{message_id}"
    report_id = hashlib.sha256(facts.encode("utf-8", "replace")).hexdigest()[:32]
    return Bounce(unique, verdict, code, shown, message_id, report_id)


def _message_id(message: Returned) -> str | None:
    """Return the Message-ID of the returned mail, if the report has it."""
    for value in _values_with_id(message):
        if found := _MESSAGE_ID.search(value):
            return found[0]
    return None


def _values_with_id(message: Returned) -> Iterator[str]:
    if message.original is not None:
        # Some relays, such as Amazon SES, give every mail a Message-ID of their own.
        yield decoded(message.original.get(DELIVERY_ID_HEADER))
        yield decoded(message.original.get("Message-ID"))
    for block in message.blocks:
        yield decoded(block.get("Original-Message-ID"))
        yield decoded(block.get("X-Original-Message-ID"))
    for pattern in (_DELIVERY_ID_LINE, _MESSAGE_ID_LINE):
        if line := pattern.search(message.text):
            yield line[1]
    yield message.header("In-Reply-To")
    yield message.header("References")


def _addresses(text: str) -> list[str]:
    """Return the addresses in a text, in lower case, without duplicates."""
    return list(dict.fromkeys(found.lower().strip(".'") for found in _ADDRESS.findall(text.replace('"', ""))))
