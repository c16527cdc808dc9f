"""Classify bounces as hard or soft by enhanced status code (RFC 3463) and reply text.

Rules for replies about our settings, our host, or the route come first: they never count against an address.
Codes alone are not enough. Servers write 5.0.0 for everything, 5.7.1 for unknown users, and 5.4.1 for an
address that their directory lacks, so rules for well-known reply texts come first. The first matching rule
applies. docs/bounces.md shows the same table.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from re import IGNORECASE, Pattern, compile  # noqa: A004 - patterns are read more easily

from app.bounces.report import BounceKind, Reason, Verdict

#: Maximum characters of a reply that are matched.
_MAX_REPLY_LENGTH = 2_000

#: A separate code, not part of an IP address, a version, or a date.
_ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d]|\.\d)")
#: The same directly after a reply code: the reply of the server that refused.
_REPLY_AND_ENHANCED = re.compile(r"\b[45]\d\d[ -]+(?:#|\()?([245]\.\d{1,3}\.\d{1,3})(?![\d]|\.\d)")
#: An address that the server echoes, such as sender@example.com, is not a word of the reply.
_ADDRESS = re.compile(r"[^\s<>@]{1,64}@[^\s<>]+")
_REPLY_CODE = re.compile(r"(?<![\d.#])([45][0-5]\d)(?![\d.])")

#: Our sender address, our account at a relay, or a relay that does not accept mail from us.
_SENDER = (
    r"\bsender('s)?\b.{0,40}(reject|refused|denied|verif|fail|invalid|unknown|badmailfrom"
    r"|not (exist|found|allowed|permitted|accepted|authori[sz]ed|valid))"
    r"|\b(invalid|unknown|bad|unverified|unauthori[sz]ed) (envelope |return )?(sender|from address|path)\b"
    r"|return[ -]path\b(?!:)|domain of sender|sender domain|send ?as ?denied"
    r"|(email address|identity|domain) is not verified|not (allowed|permitted|authori[sz]ed) to send\b"
    r"|you are sending from|your (\w+ )?account|((reply|response) to|after) (pipelined )?mail from\b"
    r"|relay(ing)? (access )?(is )?(denied|not (allowed|permitted))|(unable|not (allowed|permitted)) to relay"
    r"|not a gateway|rcpthosts"
    r"|\b(hourly|daily|weekly|monthly|sending|outgoing|outbound)\b.{0,20}\b(quota|limit)"
)

#: Our host, its name, or its DNS records.
_OUR_HOST = (
    r"reverse (dns|hostname|lookup)|\bptr\b|\b(helo|ehlo)\b|client host|\bip address\b"
    r"|your (\w+ )?(ip|host(name)?|server|network|domain)\b|\b(dmarc|dkim|spf)\b"
)

_LOOP = r"hop count|too many hops|loops? back|\bloop detected|\b(mail|mailer|routing|forwarding) loop"

_UNKNOWN_USER = (
    r"(user|recipient|mailbox|account|address|addressee|mail ?box|mailid|alias|email)\b.{0,60}"
    r"(unknown|not found|not exist|n[o']t exist|doesn't exist|no longer (exists|valid|available|on)|invalid"
    r"|not listed|not have an? .{0,40}account|unavailable to this)"
    r"|(unknown|invalid|no such|non-?existent|bad) (local )?(\w+ )?"
    r"(user|recipient|mailbox|account|address|destination|final delivery|addressee|email)"
    r"|(user|no) mailbox (here|found)|no mailbox here|there is no user|doesn'?t have an? \S+ account"
    r"|does not have an? \S+ account|not (a )?known (at|here)|mailbox (is )?unavailable"
    r"|is not recognized|not (a )?valid (user|mailbox|address|recipient)|unrouteable address"
    r"|unroutable address"
    r"|not our customer|no one by that name|recipnotfound|recipientnotfound|not listed in"
    r"|is not a valid (user|mailbox|address)|account (that you tried|does not)"
    r"|empfänger (unbekannt|existiert)|unbekannter (empfänger|benutzer)|existiert nicht"
    r"|n['’]existe pas|inconnu|no existe|desconocid[oa]|não existe|nie istnieje|nieznany"
    r"|не существует|нет такого|не найден|не зарегистрирован"
    r"|用户不存在|帐号不存在|账号不存在|收件人.{0,12}不存在|不存在|存在しません|宛先不明|見つかりません"
)

_DISABLED = (
    r"(account|mailbox|user|recipient|address)\b.{0,40}"
    r"(disabled|inactive|deactivated|suspended|closed|terminated|blocked by (its|the) owner|locked|expired)"
    r"|(disabled|inactive|deactivated) (account|mailbox|user|recipient)|deaktiviert|заблокирован|已停用|禁用"
)

_FULL = (
    r"quota (exceeded|is full)|exceed\w* .{0,40}quota|over ?quota|overquota|over (its|the|their) .{0,20}quota"
    r"|(mail)?box\b.{0,30}\b(is )?(full|exceeded)|mail(box)? (folder )?full|(insufficient|out of|not enough) "
    r"(disk |system |mailbox )?(space|storage)|storage (limit|quota|allocation)|inbox is full"
    r"|mailbox exceeds|quota .{0,30}(überschritten|dépass)|postfach.{0,20}voll|boîte .{0,30}pleine"
    r"|buz[oó]n.{0,20}lleno"
    r"|caixa .{0,30}cheia|переполнен|превышен|邮箱.{0,6}(已满|满)|容量|いっぱい|超過"
)

_POLICY = (
    r"\bspam|blacklist|block ?list|\brbl\b|dnsbl|spamhaus|spamcop|reputation"
    r"|barracuda(central)?\b.{0,20}blocked"
    r"|policy|\bdmarc|\bdkim|\bspf\b|unauthenticated|not authenticated|authentication (is )?required"
    r"|rate ?limit|too many|unsolicited|blocked|banned|denied by|access (is )?denied|greylist"
    r"|virus|malware|phish"
    r"|message (was )?(rejected|refused) (due|because|by)|垃圾邮件|迷惑メール|спам"
)

#: Refusals of the recipient without a cause.
_RECIPIENT_REFUSED = (
    r"\b(recipient|mailbox)( (address|name))? (is |was )?(reject|refused|not (allowed|accepted|permitted))"
    r"|\b(user|recipient|mailbox|account) (is )?not (here|known|local|available)|no such \w+"
    r"|unknown local[ -]?part|by that name|no longer accept|undeliverable|not our \w+|cuda_nsu"
)

#: No words but codes, "refused", and the like.
_NO_CAUSE = (
    r"\A(?>host \S+ said|in reply to rcpt to command|requested (?:mail )?action not taken|[\W\d]"
    r"|\b(?:smtp|remote|host|server|said|sorry|refused|rejected|denied|failed|delivery|error)\b)*+\Z"
)


@dataclass(frozen=True)
class Rule:
    """One row of the table.

    Attributes:
        verdict: the meaning of a matching reply.
        explanation: the facts behind the row, for the documentation.
        codes: prefixes of the code without its class: `1.1` stands for 4.1.1 and 5.1.1.
        digit: required class of the code, or else of the reply code; "" for any.
        words: required text of the reply.
        replies: allowed SMTP reply codes.
    """

    verdict: Verdict
    explanation: str
    codes: tuple[str, ...] = ()
    digit: str = ""
    words: Pattern[str] | None = None
    replies: tuple[str, ...] = ()

    def fits(self, code: str | None, reply_code: str | None, words: str) -> bool:
        """Return whether the rule matches a reply."""
        leading = (code or reply_code or "")[:1]
        return (
            (not self.digit or leading == self.digit)
            and (not self.codes or (code is not None and _within(code, self.codes)))
            and (not self.replies or reply_code in self.replies)
            and (self.words is None or self.words.search(words) is not None)
        )


def _within(code: str, families: tuple[str, ...]) -> bool:
    detail = code.partition(".")[2]
    return any(detail == family or detail.startswith(f"{family}.") for family in families)


def _soft(reason: Reason, *, counts: bool = True) -> Verdict:
    return Verdict(BounceKind.SOFT, reason, counts)


def _hard(reason: Reason) -> Verdict:
    return Verdict(BounceKind.HARD, reason, True)


RULES: tuple[Rule, ...] = (
    Rule(
        _soft(Reason.SENDER, counts=False),
        "the server rejects the sender's address or domain, not the recipient (X.2.252: Exchange)",
        codes=("1.7", "1.8", "2.252"),
    ),
    Rule(
        _soft(Reason.SENDER, counts=False),
        "the sending quota at a relay is used up (Gmail)",
        codes=("4.5",),
        digit="5",
    ),
    Rule(
        _soft(Reason.SENDER, counts=False),
        "the reply text names the sender's address, the account or quota at a relay, or a refusal to relay",
        words=compile(_SENDER, IGNORECASE),
    ),
    Rule(
        _soft(Reason.POLICY, counts=False),
        "the reply text names the IP address, host name, or DNS records of the sending server",
        words=compile(_OUR_HOST, IGNORECASE),
    ),
    Rule(
        _soft(Reason.UNREACHABLE, counts=False),
        "mail servers are misconfigured, or route the email in a loop",
        codes=("3.5", "4.6", "4.14"),
    ),
    Rule(
        _soft(Reason.UNREACHABLE, counts=False),
        "the reply text says that mail servers route the email in a loop",
        words=compile(_LOOP, IGNORECASE),
    ),
    Rule(
        _soft(Reason.CONTENT, counts=False),
        "this email is too large, but the server may accept a smaller email",
        codes=("2.3", "3.4"),
    ),
    Rule(
        _soft(Reason.CONTENT, counts=False),
        "the reply text says that the email is too large",
        words=compile(
            r"(message|mail|file) (size|is) .{0,20}(exceeds|too (large|big))|too large", IGNORECASE
        ),
    ),
    Rule(
        _soft(Reason.MAILBOX_FULL),
        "the mailbox is full, but its owner can free space, so 5.2.2 is soft too",
        codes=("2.2",),
    ),
    Rule(
        _soft(Reason.MAILBOX_FULL),
        "the reply text says that the mailbox is full, whatever the code is",
        words=compile(_FULL, IGNORECASE),
    ),
    Rule(
        _soft(Reason.TEMPORARY),
        "the reply text says that the user is unknown, but the code says that the failure is temporary",
        digit="4",
        words=compile(_UNKNOWN_USER, IGNORECASE),
    ),
    Rule(
        _soft(Reason.POLICY, counts=False),
        "the code names no cause, but the reply text names a policy, such as a spam filter or denied access",
        codes=("1.0",),
        words=compile(_POLICY, IGNORECASE),
    ),
    Rule(
        _hard(Reason.NO_SUCH_RECIPIENT),
        "the address does not exist, or its domain accepts no email (5.1.10: RFC 7505, Exchange)",
        codes=("1.0", "1.1", "1.2", "1.3", "1.4", "1.6", "1.9", "1.10"),
        digit="5",
    ),
    Rule(
        _hard(Reason.NO_SUCH_RECIPIENT),
        "Exchange Online does not know the address (from other servers, 5.4.1 means an unreachable host)",
        codes=("4.1",),
        digit="5",
        words=compile(r"recipient address rejected", IGNORECASE),
    ),
    Rule(
        _hard(Reason.MAILBOX_DISABLED),
        "the mailbox is disabled",
        codes=("2.1",),
        digit="5",
    ),
    Rule(
        _hard(Reason.NO_SUCH_RECIPIENT),
        "the reply text says that the user is unknown, for example with the code 5.0.0, 5.7.1, or none",
        words=compile(_UNKNOWN_USER, IGNORECASE),
    ),
    Rule(
        _hard(Reason.NO_SUCH_RECIPIENT),
        "the reply text says that the address is on the relay's suppression list",
        words=compile(r"previously bounced|suppress(ion|ed)", IGNORECASE),
    ),
    Rule(
        _soft(Reason.POLICY, counts=False),
        "the cause is a spam filter, a blocklist, or an authentication check, not the recipient",
        codes=("7",),
    ),
    Rule(
        _soft(Reason.POLICY, counts=False),
        "the reply text names a policy, such as a spam filter, a blocklist, or a rate limit",
        words=compile(_POLICY, IGNORECASE),
    ),
    Rule(
        _hard(Reason.MAILBOX_DISABLED),
        "the reply text says that the mailbox is disabled or closed",
        words=compile(_DISABLED, IGNORECASE),
    ),
    Rule(_soft(Reason.EXPIRED), "a relay stopped retrying after several days", codes=("4.7",)),
    Rule(
        _soft(Reason.UNREACHABLE),
        "no route to the host, or no reply (5.4.4 is soft too: a failing name server can cause it)",
        codes=("4",),
    ),
    Rule(
        _soft(Reason.UNREACHABLE),
        "the reply text says that the host is unreachable",
        words=compile(
            r"(host|domain|name)\b.{0,40}(not found|unknown|unreachable|lookup)|no route to host"
            r"|connection (refused|timed out)|timed? ?out|unreachable|couldn't find any host|no mx",
            IGNORECASE,
        ),
    ),
    Rule(
        _soft(Reason.CONTENT, counts=False),
        "a problem with the SMTP commands or the content of this email",
        codes=("5", "6"),
    ),
    Rule(
        _soft(Reason.TEMPORARY), "another problem of the recipient's mailbox or mail system", codes=("2", "3")
    ),
    Rule(
        _hard(Reason.NO_SUCH_RECIPIENT),
        "the mailbox is unavailable (RFC 5321, 4.2.3), and the reply text names no other cause",
        digit="5",
        replies=("550", "551", "553"),
        words=compile(f"{_RECIPIENT_REFUSED}|{_NO_CAUSE}", IGNORECASE),
    ),
    Rule(
        _soft(Reason.MAILBOX_FULL), "the storage limit is exceeded (RFC 5321, 4.2.3)", replies=("452", "552")
    ),
    Rule(_soft(Reason.TEMPORARY), "a temporary failure for an unrecognized reason", digit="4"),
)

#: Verdict on a reply that matches no rule.
_UNKNOWN = _soft(Reason.REFUSED, counts=False)


def judge(status: str | None, reply: str) -> tuple[Verdict, str | None]:
    """Return the verdict on a reply, and the enhanced status code behind it.

    Args:
        status: the report's code, if it has one.
        reply: the server's reply.
    """
    words = reply[:_MAX_REPLY_LENGTH]
    code = _code(status, words)
    found = _REPLY_CODE.search(words)
    reply_code = found[1] if found else None
    words = _ADDRESS.sub("", words)
    rule = next((rule for rule in RULES if rule.fits(code, reply_code, words)), None)
    return rule.verdict if rule else _UNKNOWN, code


def _code(status: str | None, words: str) -> str | None:
    """Return the refusing server's code, in preference to the reporting server's."""
    if found := _REPLY_AND_ENHANCED.search(words):
        return found[1]
    own = _ENHANCED.search(status or "")
    if own and (own[2], own[3]) != ("0", "0"):
        return own[0]
    inner = _ENHANCED.search(words)
    return (inner or own or [None])[0]
