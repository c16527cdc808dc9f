"""The settings of all processes, read once from the environment, `.env`, and secret files.

A field's name is its environment variable in lower case. Its description appears in `.env.example` and the
documentation. Nothing else in the project reads the environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from pydantic_settings.exceptions import SettingsError as UnreadableSettings

from app.addresses import InvalidAddress, parse_address
from app.money import CURRENCIES
from app.settings.budgets import Budgets, parse_budgets
from app.settings.contrast import MINIMUM_CONTRAST, contrast
from app.settings.wallet import (
    AppleCredentials,
    GoogleCredentials,
    apple_credentials,
    google_credentials,
    read_logo,
)

PaymentMethod = Literal["credit_card", "debit_card", "paypal", "stripe"]
PAYMENT_METHODS: tuple[PaymentMethod, ...] = get_args(PaymentMethod)
QueueType = Literal["classic", "quorum"]


class Broker(StrEnum):
    """The message broker. Differences between brokers are tables keyed by this enum."""

    RABBITMQ = "RabbitMQ"
    REDIS = "Redis"
    MEMORY = "memory"


#: Scheme of RABBITMQ_URL → broker. Read only here.
_BROKERS = {
    "amqp": Broker.RABBITMQ,
    "amqps": Broker.RABBITMQ,
    "redis": Broker.REDIS,
    "rediss": Broker.REDIS,
    "stub": Broker.MEMORY,
}

#: Minimum length of the keys of sessions and of hashes.
_SECRET_KEY_LENGTH = 32

#: Default key if SUPPRESSION_KEY is not set.
_BUILT_IN_SUPPRESSION_KEY = "movieapp suppressions without a key"

#: Path → maximum bytes of its request body, if larger than MAX_BODY_BYTES. A bounce contains our mail.
LARGER_BODIES = {"/notification/bounces": 512 * 1024}

#: Properties by which messages are counted.
_MESSAGE_KINDS = ("email", "sms", "booking")

_COUNTRY = re.compile(r"[A-Z]{2}|any")

#: Properties by which declined payments are counted.
ATTEMPT_KINDS = ("booking", "user", "ip", "card")

#: Directory in which Docker mounts each secret as a file.
_MOUNTED_SECRETS = Path("/run/secrets")


class SettingsError(Exception):
    """A setting is missing or invalid. The message is one line with the variable, never its value."""


def _url(*schemes: str) -> AfterValidator:
    """Accept only URLs with one of `schemes` and a host."""

    def check(value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in schemes or not (parts.hostname or parts.scheme == "stub"):
            # stub:// is only for tests.
            *others, last = (f"{scheme}://" for scheme in schemes if scheme != "stub")
            comma = "," if len(others) > 1 else ""
            prefixes = f"{', '.join(others)}{comma} or {last}"
            raise ValueError(f"must be a URL that starts with {prefixes} and names a host")
        return value

    return AfterValidator(check)


def _optional_endpoint(value: str) -> str:
    if value and not re.fullmatch(r"https?://[^\s\"'<>/][^\s\"'<>]*", value):
        raise ValueError("must be a URL that starts with https:// or http:// and names a host")
    return value


def _mongodb_uri(value: str) -> str:
    if not urlsplit(value).path.strip("/"):
        raise ValueError(
            "must name a database after the host, for example mongodb://localhost:27017/movieapp"
        )
    return value


def _currency(value: str) -> str:
    if value.upper() not in CURRENCIES:
        raise ValueError("must be an ISO 4217 currency code that Stripe supports, for example USD")
    return value.upper()


def _from_name(value: str) -> str:
    # RFC 5322 lets these into a quoted display name; mail clients and spam filters read them as spoofing.
    if re.search(r'[@:,"<>\r\n]', value):
        raise ValueError('must not contain @ : , " < > or a line break')
    return value


def _email(value: str) -> str:
    try:
        parse_address(value)
    except InvalidAddress:
        raise ValueError("must be an email address, such as tickets@example.com") from None
    return value


def _optional_email(value: str) -> str:
    return _email(value) if value else value


def _optional_https(value: str) -> str:
    if value and not re.fullmatch(r"https://[^\s\"'<>]+", value):
        raise ValueError("must be a URL that starts with https://")
    return value


def _public_url(value: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"'<>/?#@]+(/[^\s\"'<>?#]*)?", value):
        raise ValueError(
            "must be a URL that starts with https:// or http://, names a host, "
            "and has no user name, query, or fragment"
        )
    return value.rstrip("/")


def _optional_smtp_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if not url:
        return value
    try:
        parts = urlsplit(url)
        valid = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
        valid = valid and parts.query in ("", "security=none", "security=starttls", "security=ssl")
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(
            "must be a URL such as smtp://user:password@host:587 or smtps://user:password@host:465, "
            "optionally followed by ?security=none, ?security=starttls, or ?security=ssl"
        )
    return value


def _optional_imap_url(value: SecretStr) -> SecretStr:
    url = value.get_secret_value()
    if not url:
        return value
    try:
        parts = urlsplit(url)
        valid = parts.scheme == "imaps" and bool(parts.hostname and parts.username and parts.password)
        valid = valid and parts.port != 0 and not parts.query
    except ValueError:
        valid = False
    if not valid:
        raise ValueError(
            "must be a URL such as imaps://user:password@host/INBOX, with each @ in the user name written "
            "as %40"
        )
    return value


def _optional_zone(value: str) -> str:
    if value and value not in available_timezones():
        raise ValueError("must be a time zone of the IANA database, for example America/New_York")
    return value


def _zone(value: str) -> str:
    # Not checked against the list of names, because reading it would dominate the start of a command.
    try:
        ZoneInfo(value)
    except (ValueError, ZoneInfoNotFoundError, OSError):
        raise ValueError("must be a time zone of the IANA database, for example America/New_York") from None
    return value


def _brand_color(value: str) -> str:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        raise ValueError("must be a hexadecimal color with six digits, such as #3f3d94")
    if contrast(value, "#ffffff") < MINIMUM_CONTRAST:
        raise ValueError("must be dark enough for white text (WCAG 2: a contrast ratio of at least 4.5:1)")
    return value


def _rate_limits(value: str) -> str:
    from limits import parse_many  # imported here, because every command loads this module

    try:
        parse_many(value)
    except ValueError:
        raise ValueError("must be rate limits, such as '100 per minute; 20 per 10 seconds'") from None
    return value


def _recipient_limits(value: str) -> str:
    parse_budgets(value, _MESSAGE_KINDS)
    return value


def _countries(value: tuple[str, ...]) -> tuple[str, ...]:
    if not all(map(_COUNTRY.fullmatch, value)):
        raise ValueError(
            "must be 'any', or two-letter ISO 3166 country codes separated by commas, such as US,CA"
        )
    return value


def _attempt_limits(value: str) -> str:
    parse_budgets(value, ATTEMPT_KINDS)
    return value


@lru_cache
def _limits_by_currency(value: str) -> dict[str, Decimal]:
    """Parse `10000` to {"": 10000}, and `USD:10000,JPY:1500000` to limits by currency.

    Raises:
        ValueError: the text has neither form.
    """
    limits = {}
    for part in value.split(","):
        currency, _, amount = part.strip().rpartition(":")
        if currency and currency not in CURRENCIES:
            raise ValueError(f"{currency!r} is not an ISO 4217 currency code that Stripe supports")
        if not re.fullmatch(r"[0-9]{1,10}(\.[0-9]{1,3})?", amount) or not Decimal(amount):
            raise ValueError(
                "must be one amount above 0, or one for each currency, such as USD:10000,JPY:1500000"
            )
        limits[currency] = Decimal(amount)
    if "" in limits and len(limits) > 1:
        raise ValueError("must be one amount, or one for each currency, such as USD:10000,JPY:1500000")
    return limits


def _checked_limits(value: str) -> str:
    _limits_by_currency(value)
    return value


def _queue_type(value: Any) -> Any:
    if value == "stream":
        raise ValueError(
            "must be classic or quorum, because a stream keeps acknowledged messages and has no dead letters"
        )
    return value


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # do not show the input either
        return False


class Settings(BaseSettings):
    """The settings of one process. Immutable, and passed as an argument."""

    model_config = SettingsConfigDict(
        frozen=True, extra="ignore", env_ignore_empty=True, hide_input_in_errors=True
    )

    app_env: Literal["development", "production"] = Field(
        "development",
        description="operating mode; in production, movieapp does not start with unsafe settings",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest level of messages to log"
    )

    # Tracing. OpenTelemetry's SDK reads further variables, for example OTEL_TRACES_SAMPLER.
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(_optional_endpoint)] = Field(
        "",
        description="URL of an OTLP/HTTP receiver for traces, such as http://localhost:4318; requires the "
        "extra movieapp[tracing]",
    )
    otel_exporter_otlp_headers: SecretStr = Field(
        SecretStr(""),
        description="HTTP headers to send with traces, such as an API key, in the form name=value,…",
    )

    # Payment gateway
    payment_gateway_url: Annotated[str, _url("https", "http")] = Field(
        "https://api.stripe.com", description="URL of Stripe's API, or of a Stripe simulator"
    )
    payment_gateway_api_key: SecretStr = Field(
        SecretStr(""), description="secret key of the Stripe account, sk_test_… or sk_live_…"
    )
    payment_gateway_connect_timeout: float = Field(
        2.0, gt=0, le=30, description="maximum seconds to connect to the gateway, for each attempt"
    )
    payment_gateway_read_timeout: float = Field(
        8.0, gt=0, le=60, description="maximum seconds to wait for the gateway's response, for each attempt"
    )
    payment_gateway_max_retries: int = Field(
        2,
        ge=0,
        le=5,
        description="maximum number of retries of a failed gateway request, with the same idempotency key; "
        "retries after rate limits do not count",
    )
    payment_action_timeout: int = Field(
        60,
        ge=5,
        le=1_380,
        description="minutes for a customer to confirm a payment (3-D Secure, PayPal)",
    )
    allow_raw_card_data: bool = Field(
        False, description="1 accepts raw card numbers in live mode; requires a PCI DSS assessment (SAQ D)"
    )
    stripe_webhook_secret: SecretStr = Field(
        SecretStr(""),
        description="signing secret of the webhook endpoint, whsec_…; during a rotation, the old and the new "
        "secret, separated by a comma",
    )
    payment_methods: Annotated[tuple[PaymentMethod, ...], NoDecode, BeforeValidator(_split)] = Field(
        PAYMENT_METHODS, min_length=1, description="enabled payment methods, separated by commas"
    )
    default_currency: Annotated[str, AfterValidator(_currency)] = Field(
        "USD", description="currency of payments that specify none, as an ISO 4217 code"
    )
    max_payment_amount: Annotated[str, AfterValidator(_checked_limits)] = Field(
        "10000",
        description="maximum amount of a payment in DEFAULT_CURRENCY, in major units, or a maximum for each "
        "currency, such as USD:10000,JPY:1500000; this setting does not limit payments in other currencies",
    )
    refund_stray_charges: bool = Field(
        True,
        description="1 refunds charges that succeeded after their payment had failed or been canceled; 0 "
        "leaves these charges to an operator",
    )
    return_url_schemes: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)] = Field(
        (),
        description="URL schemes that return_url may have besides https, separated by commas, for example "
        "cinemaapp",
    )

    # Servers
    rabbitmq_url: Annotated[str, _url(*_BROKERS)] = Field(
        "amqp://guest:guest@localhost:5672/%2F",
        repr=False,  # URLs may carry passwords
        description="URL of the message broker: amqp://… or amqps://… for RabbitMQ; redis://… for Redis, "
        "only with movieapp dev",
    )
    rabbitmq_exchange: str = Field(
        "movie_app_events",
        min_length=1,
        max_length=127,
        description="name of the durable topic exchange for all events",
    )
    rabbitmq_queue_type: Annotated[QueueType, BeforeValidator(_queue_type)] = Field(
        "classic",
        description="type of the queues; for a RabbitMQ cluster, set quorum before you first start movieapp",
    )
    redis_url: Annotated[str, _url("redis", "rediss")] = Field(
        "redis://localhost:6379/0",
        repr=False,
        description="URL of Redis, for deduplication, rate limits, and payment lockouts",
    )
    mongodb_uri: Annotated[str, _url("mongodb", "mongodb+srv"), AfterValidator(_mongodb_uri)] = Field(
        "mongodb://localhost:27017/movieapp",
        repr=False,
        description="connection string of MongoDB, with the name of the database",
    )
    namespace: str = Field(
        "",
        pattern=r"^[a-zA-Z0-9_.-]*$",
        max_length=64,
        description="name of the deployment: a prefix of queue names and Redis keys, and a label of payments "
        "at the gateway. Required if deployments share servers or a gateway account",
    )

    # Mail
    smtp_server: str = Field("localhost", min_length=1, description="host name of the mail server")
    smtp_port: int = Field(
        587, ge=1, le=65535, description="port of the mail server; usually 587 for starttls, 465 for ssl"
    )
    smtp_security: Literal["starttls", "ssl", "none"] = Field(
        "starttls", description="encryption of SMTP connections; use none only on a trusted network"
    )
    smtp_username: str = Field(
        "", description="user name at the mail server; if unset, workers do not log in"
    )
    smtp_password: SecretStr = Field(
        SecretStr(""),
        description="password at the mail server, or an app password if the provider requires one; for "
        "SMTP_AUTH=xoauth2, the OAuth refresh token, if you have one",
    )
    smtp_ca_file: Path | None = Field(
        None,
        description="PEM file with the certificate of the private CA that issued the mail server's "
        "certificate; default: the system's CAs",
    )
    smtp_timeout: float = Field(
        20.0,
        gt=0,
        le=30,
        description="maximum seconds to wait for the reply to each SMTP command; three times as long after "
        "the message data",
    )
    smtp_ehlo_name: str = Field(
        "",
        pattern=r"^([A-Za-z0-9-]{1,63}(\.[A-Za-z0-9-]{1,63})*|\[[0-9A-Za-z.:]+\])?$",
        max_length=255,
        description="host name to send in EHLO; default: this host's fully qualified name if it has one, else"
        " the domain of FROM_EMAIL",
    )
    smtp_auth: Literal["auto", "plain", "login", "cram-md5", "xoauth2"] = Field(
        "auto", description="SMTP authentication mechanism; xoauth2 requires the extra movieapp[oauth]"
    )
    smtp_oauth2_token_url: Annotated[str, AfterValidator(_optional_https)] = Field(
        "", description="URL of the OAuth token endpoint, for SMTP_AUTH=xoauth2"
    )
    smtp_oauth2_client_id: str = Field("", description="OAuth client id for SMTP_OAUTH2_TOKEN_URL")
    smtp_oauth2_client_secret: SecretStr = Field(
        SecretStr(""), description="OAuth client secret for SMTP_OAUTH2_TOKEN_URL"
    )
    smtp_oauth2_scope: str = Field("", description="OAuth scopes to request, separated by spaces")
    smtp_fallback_url: Annotated[SecretStr, AfterValidator(_optional_smtp_url)] = Field(
        SecretStr(""),
        description="second mail server, used only if the first failed and certainly did not accept the "
        "email: smtp://user:password@host:587 or smtps://…:465; ?security=none disables TLS",
    )
    smtp_retry_hours: float = Field(
        24.0, ge=0, le=168, description="maximum hours to retry an email after its first failed attempt"
    )
    from_email: Annotated[str, AfterValidator(_email)] = Field(
        "tickets@movieapp.example.com", description="sender's email address"
    )
    from_name: Annotated[str, AfterValidator(_from_name)] = Field(
        "MovieApp", description="sender's name in emails and SMS"
    )

    support_email: Annotated[str, AfterValidator(_optional_email)] = Field(
        "", description="email address for customers' questions; if unset, customers reply to FROM_EMAIL"
    )
    brand_color: Annotated[str, AfterValidator(_brand_color)] = Field(
        "#3f3d94", description="color of buttons and links in emails; must be dark enough for white text"
    )
    brand_logo_url: Annotated[str, AfterValidator(_optional_https)] = Field(
        "", description="https:// URL of a PNG, 64 px high, to show instead of FROM_NAME at the top of emails"
    )
    postal_address: str = Field(
        "", max_length=300, description="postal address to show at the end of emails, on one line"
    )
    default_timezone: Annotated[str, AfterValidator(_optional_zone)] = Field(
        "",
        description="time zone, such as America/New_York, of showtimes without a time zone; if unset, "
        "messages show these showtimes unchanged",
    )

    # Wallet passes, with the extra: movieapp[wallet]. Off unless set. docs/wallet-passes.md
    apple_pass_certificate: SecretStr = Field(
        SecretStr(""),
        description="Pass Type ID certificate in PEM, to attach Apple Wallet passes to booking emails; "
        "requires the extra movieapp[wallet]",
    )
    apple_pass_key: SecretStr = Field(
        SecretStr(""), description="private key of APPLE_PASS_CERTIFICATE in PEM"
    )
    apple_pass_key_password: SecretStr = Field(
        SecretStr(""), description="password of APPLE_PASS_KEY, if it has one"
    )
    apple_wwdr_certificate: SecretStr = Field(
        SecretStr(""),
        description="Apple's WWDR certificate that issued APPLE_PASS_CERTIFICATE, in PEM "
        "(apple.com/certificateauthority)",
    )
    wallet_logo_file: Path | None = Field(
        None,
        description="PNG to show on Apple Wallet passes, at most 320 × 100 pixels and 30,000 bytes; default: "
        "FROM_NAME as text. Google Wallet shows BRAND_LOGO_URL instead",
    )
    google_wallet_issuer_id: str = Field(
        "",
        pattern=r"^[0-9]{0,32}$",
        description="id of your issuer account in the Google Pay & Wallet console",
    )
    google_wallet_service_account: SecretStr = Field(
        SecretStr(""),
        description="JSON key of a service account with access to GOOGLE_WALLET_ISSUER_ID, to show an Add to "
        "Google Wallet button in booking emails; requires the extra movieapp[wallet]",
    )

    # SMS
    sms_provider: Literal["none", "console", "twilio"] = Field(
        "none",
        description="how to send SMS; none disables SMS, console writes SMS to the log, and twilio requires "
        "the extra movieapp[sms]",
    )
    sms_countries: Annotated[
        tuple[str, ...], NoDecode, BeforeValidator(_split), AfterValidator(_countries)
    ] = Field(
        (),
        description="countries to which workers send SMS, as ISO 3166 codes such as US,CA; any allows all "
        "countries; default: the country of TWILIO_FROM_NUMBER, or any if the sender is not a phone number. "
        "Workers never send SMS to premium-rate or satellite numbers",
    )
    twilio_account_sid: str = Field(
        "", pattern=r"^(AC[0-9a-zA-Z]+)?$", description="SID of the Twilio account, AC…"
    )
    twilio_auth_token: SecretStr = Field(SecretStr(""), description="auth token of the Twilio account")
    twilio_from_number: str = Field(
        "",
        pattern=r"^(\+[0-9]{5,15}|[A-Za-z0-9 ]{3,11})?$",
        description="sender of SMS: a phone number of the Twilio account (for example +14155550100), a short "
        "code, or an alphanumeric sender id",
    )
    twilio_api_base: Annotated[str, _url("https", "http")] = Field(
        "https://api.twilio.com", description="URL of Twilio's API, or of a test server"
    )
    twilio_timeout: float = Field(
        10.0,
        gt=0,
        le=30,
        description="maximum seconds to connect to Twilio, and separately to wait for its response",
    )

    # Bounces
    bounce_mailbox_url: Annotated[SecretStr, AfterValidator(_optional_imap_url)] = Field(
        SecretStr(""),
        description="URL of the IMAP mailbox from which workers read bounce messages: "
        "imaps://user:password@host/INBOX; write @ in the user name as %40",
    )
    bounce_mailbox_ca_file: Path | None = Field(
        None,
        description="PEM file with the certificate of the private CA that issued the IMAP server's "
        "certificate; default: the system's CAs",
    )

    # Suppressions
    suppression_key: SecretStr = Field(
        SecretStr(""),
        description="key for the hashes of suppressed recipients, for payment requests with card details, "
        "and for Message-IDs, the same for every process; at least 32 characters (openssl rand -hex 32). A "
        "new key invalidates the suppression list, and for a day, repetitions of such requests get 422",
    )
    suppression_days: int = Field(
        90,
        ge=1,
        le=3650,
        description="days that a suppression lasts after the latest bounce, STOP message, or operator's "
        "entry",
    )

    # API
    auth_required: bool = Field(
        False, description="1 requires an API key from clients; default in production: 1"
    )
    public_url: Annotated[str, AfterValidator(_public_url)] = Field(
        "http://127.0.0.1:8003",
        description="URL at which browsers and Twilio reach this API; default return URLs and callback URLs "
        "start with it, regardless of the Host header; must start with https:// in production",
    )
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=5,
        description="number of proxies whose X-Forwarded-For and X-Forwarded-Proto headers the API trusts",
    )
    ratelimit_enabled: bool = Field(True, description="1 limits the request rate of each client")
    ratelimit_payments: Annotated[str, AfterValidator(_rate_limits)] = Field(
        "100 per minute; 20 per 10 seconds",
        description="rate limits for requests to process, refund, or cancel a payment",
    )
    recipient_limits: Annotated[str, AfterValidator(_recipient_limits)] = Field(
        "email 30/hour 100/day; sms 15/hour 30/day; booking 15/hour 40/day",
        description="maximum number of messages to one email address, to one phone number, and about one "
        "booking on each channel; none disables these limits",
    )
    card_attempt_limits: Annotated[str, AfterValidator(_attempt_limits)] = Field(
        "booking 9/hour 15/day; user 9/hour 15/day; ip 9/hour 30/day; card 12/hour 20/day",
        description="maximum number of declined payments before a lockout, for each booking, user, "
        "customer_ip, and card; none disables these limits",
    )
    ratelimit_reads: Annotated[str, AfterValidator(_rate_limits)] = Field(
        "600 per minute",
        description="rate limits for read requests (payment status, payments of a booking, payment methods, "
        "the result page, the documentation, and readiness) and for bounce reports",
    )
    ratelimit_failures: Annotated[str, AfterValidator(_rate_limits)] = Field(
        "30 per minute",
        description="rate limits for requests with a missing or invalid API key or signature, for each IP "
        "address; valid requests from the same address are not affected",
    )
    max_body_bytes: int = Field(
        65_536,
        ge=1_024,
        le=1_048_576,
        description="maximum size of a request body in bytes; for bounce messages, the API uses 512 KiB if "
        "this value is smaller. The API responds to larger requests with 413",
    )
    dashboard_secret_key: SecretStr = Field(
        SecretStr(""),
        description="key that signs the dashboard's sessions; at least 32 characters (openssl rand -hex 32); "
        "required for the API in production",
    )
    dashboard_timezone: Annotated[str, AfterValidator(_zone)] = Field(
        "UTC",
        description="time zone, such as Europe/Berlin, of the times in the dashboard and in the tables of "
        "commands",
    )
    metrics_bind: str = Field(
        "127.0.0.1:9464",
        pattern=r"^none$|^[^\s:]+:[0-9]{1,5}$",
        description="HOST:PORT of the separate listener on which the API serves /metrics; none disables it",
    )
    metrics_public: bool = Field(
        False, description="1 also serves /metrics on the API's public port, to everyone"
    )
    web_threads: int = Field(
        96,
        ge=4,
        le=256,
        description="number of threads of each API process; a quarter is reserved for requests without "
        "gateway calls",
    )
    web_read_timeout: int = Field(
        10,
        ge=1,
        le=120,
        description="maximum seconds for a request to arrive completely, with headers and body; the API "
        "responds to slower requests with 408",
    )
    web_keepalive: int = Field(
        620,
        ge=1,
        le=3_600,
        description="seconds to keep an idle connection open. Must be longer than the load balancer's idle "
        "timeout, so that the load balancer never sends a request on a closed connection (idle timeouts: "
        "AWS 60, Caddy 120, Google Cloud 600)",
    )
    web_timeout: int = Field(
        60, ge=10, le=600, description="seconds without a heartbeat after which gunicorn kills an API process"
    )

    # Worker
    max_retry_attempts: int = Field(
        12,
        ge=0,
        le=20,
        description="maximum number of retries of a delivery after temporary failures; retries while the "
        "mail server or SMS provider is failing do not count",
    )
    reminder_hours: float = Field(
        0.0,
        ge=0,
        le=336,
        description="hours before a show at which customers get a reminder; 0 sends no reminders. Customers "
        "get no reminder for a booking that is confirmed after that time",
    )
    log_retention_days: int = Field(
        90,
        ge=1,
        le=3650,
        description="days to keep the records of finished deliveries; after this time, workers process an "
        "event again if it arrives again. movieapp never deletes records of payments",
    )
    worker_metrics_bind: str = Field(
        "127.0.0.1:9465",
        pattern=r"^none$|^[^\s:]+:[0-9]{1,5}$",
        description="HOST:PORT at which each worker serves /metrics; none disables the listener",
    )
    worker_heartbeat_file: Path | None = Field(
        None,
        description="file that a worker updates every few seconds while it consumes messages, for health "
        "checks",
    )

    @property
    def broker(self) -> Broker:
        """Return the broker of RABBITMQ_URL."""
        return _BROKERS[urlsplit(self.rabbitmq_url).scheme]

    @property
    def operators_zone(self) -> ZoneInfo:
        """Return the operators' time zone."""
        return ZoneInfo(self.dashboard_timezone)

    @property
    def is_gateway_live(self) -> bool:
        """Return whether the gateway key is for live mode."""
        return self.payment_gateway_api_key.get_secret_value().startswith(("sk_live_", "rk_live_"))

    @property
    def webhook_secrets(self) -> list[str]:
        """Return the valid secrets for webhook signatures."""
        secrets: list[str] = _split(self.stripe_webhook_secret.get_secret_value())
        return secrets

    @property
    def apple_wallet(self) -> AppleCredentials | None:
        """Return the credentials for Apple Wallet passes; None if they are disabled."""
        fields = (
            self.apple_pass_certificate,
            self.apple_pass_key,
            self.apple_pass_key_password,
            self.apple_wwdr_certificate,
        )
        texts = [field.get_secret_value() for field in fields]
        return apple_credentials(*texts) if any(texts) else None

    @property
    def google_wallet(self) -> GoogleCredentials | None:
        """Return the credentials for Google Wallet's save links; None if they are disabled."""
        account = self.google_wallet_service_account.get_secret_value()
        if not account and not self.google_wallet_issuer_id:
            return None
        return google_credentials(self.google_wallet_issuer_id, account)

    def max_payment(self, currency: str) -> Decimal | None:
        """Return the largest payment in `currency`, in major units; None if it has no limit."""
        limits = _limits_by_currency(str(self.max_payment_amount))
        return limits.get(currency, limits.get("") if currency == self.default_currency else None)

    @property
    def recipient_budgets(self) -> Budgets:
        """Return the limits of messages, by email, sms, and booking."""
        return parse_budgets(self.recipient_limits, _MESSAGE_KINDS)

    @property
    def card_attempt_budgets(self) -> Budgets:
        """Return the limits of declined payments, by booking, user, ip, and card."""
        return parse_budgets(self.card_attempt_limits, ATTEMPT_KINDS)

    @property
    def suppression_secret(self) -> bytes:
        """Return the key of hashed addresses. Without SUPPRESSION_KEY, it is a public built-in key."""
        return (self.suppression_key.get_secret_value() or _BUILT_IN_SUPPRESSION_KEY).encode()

    @property
    def sms_receipts_base(self) -> str | None:
        """Return the base URL for SMS receipts; None if the provider can't reach this API.

        Twilio refuses messages with a local URL. A local stand-in accepts them.
        """
        local = (_is_loopback(self.public_url), _is_loopback(self.twilio_api_base))
        return (
            None if "public_url" not in self.model_fields_set or local == (True, False) else self.public_url
        )

    @property
    def gateway_calls(self) -> int:
        """Return the maximum number of concurrent gateway calls in one API process."""
        return self.web_threads * 3 // 4

    @property
    def gateway_time_budget(self) -> float:
        """Return the longest duration of a gateway call in seconds, with all timeouts and pauses.

        The pause before retry n+1 is at most 0.5·2ⁿ seconds, and never more than 5. Further retries, for rate
        limits, happen only if they fit. Name resolution is not included.
        """
        one_try = self.payment_gateway_connect_timeout + self.payment_gateway_read_timeout
        pauses = sum(min(0.5 * 2.0**n, 5.0) for n in range(self.payment_gateway_max_retries))
        return one_try * (self.payment_gateway_max_retries + 1) + pauses

    @model_validator(mode="before")
    @classmethod
    def _production_defaults(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("app_env") == "production":
            return {"auth_required": True} | values
        return values

    def _safe_for_production(self) -> None:
        if not self.auth_required:
            raise ValueError("AUTH_REQUIRED: must be 1 in production")
        if not self.is_gateway_live:
            raise ValueError("PAYMENT_GATEWAY_API_KEY: must be a live key (sk_live_…) in production")
        if not self.trusted_proxies:
            raise ValueError(
                "TRUSTED_PROXIES: must be at least 1 in production: set it to the number of proxies in front "
                "of the API"
            )
        if not self.public_url.startswith("https://"):
            raise ValueError("PUBLIC_URL: must be the https:// URL of the API in production")
        if self.broker is not Broker.RABBITMQ:
            raise ValueError("RABBITMQ_URL: must start with amqp:// or amqps:// in production")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.app_env == "production":
            self._safe_for_production()
        if self.gateway_time_budget >= self.web_timeout:
            raise ValueError(
                f"WEB_TIMEOUT: must exceed {self.gateway_time_budget:.0f} s, the longest gateway call, so "
                "that gunicorn does not kill an API process during a charge: raise WEB_TIMEOUT, or lower "
                "PAYMENT_GATEWAY_CONNECT_TIMEOUT, PAYMENT_GATEWAY_READ_TIMEOUT, or "
                "PAYMENT_GATEWAY_MAX_RETRIES"
            )
        if 0 < len(self.dashboard_secret_key.get_secret_value()) < _SECRET_KEY_LENGTH:
            raise ValueError(f"DASHBOARD_SECRET_KEY: must have at least {_SECRET_KEY_LENGTH} characters")
        if 0 < len(self.suppression_key.get_secret_value()) < _SECRET_KEY_LENGTH:
            raise ValueError(f"SUPPRESSION_KEY: must have at least {_SECRET_KEY_LENGTH} characters")
        if self.smtp_auth == "xoauth2":
            self._ready_for_oauth()
        elif self.smtp_username and not self.smtp_password.get_secret_value():
            raise ValueError("SMTP_PASSWORD: must be set when SMTP_USERNAME is set")
        if self.smtp_ca_file and not self.smtp_ca_file.is_file():
            raise ValueError("SMTP_CA_FILE: must name an existing file")
        if self.bounce_mailbox_ca_file and not self.bounce_mailbox_ca_file.is_file():
            raise ValueError("BOUNCE_MAILBOX_CA_FILE: must name an existing file")
        if self.sms_provider == "twilio":
            self._ready_for_twilio()
        self._ready_for_wallets()
        if self.otel_exporter_otlp_endpoint and not _is_installed("opentelemetry.exporter"):
            raise ValueError(
                "OTEL_EXPORTER_OTLP_ENDPOINT: requires OpenTelemetry: run pip install 'movieapp[tracing]'"
            )
        return self

    def require_api_secrets(self) -> None:
        """Check the secrets that only the API needs.

        Raises:
            SettingsError: a secret is missing.
        """
        if self.is_gateway_live and not self.webhook_secrets:
            raise SettingsError("STRIPE_WEBHOOK_SECRET: must be set in live mode")
        if self.app_env == "production" and not self.dashboard_secret_key.get_secret_value():
            raise SettingsError(
                "DASHBOARD_SECRET_KEY: must be set in production: run openssl rand -hex 32 to generate a key"
            )

    def _ready_for_oauth(self) -> None:
        for name in ("smtp_username", "smtp_oauth2_token_url", "smtp_oauth2_client_id"):
            if not getattr(self, name):
                raise ValueError(f"{name.upper()}: must be set when SMTP_AUTH is xoauth2")
        if not _is_installed("requests_oauthlib"):
            raise ValueError(
                "SMTP_AUTH: xoauth2 requires requests-oauthlib: run pip install 'movieapp[oauth]'"
            )

    def _ready_for_wallets(self) -> None:
        for name in ("apple_pass_certificate", "google_wallet_service_account"):
            if getattr(self, name).get_secret_value() and not _is_installed("cryptography"):
                raise ValueError(f"{name.upper()}: requires cryptography: run pip install 'movieapp[wallet]'")
        # Both raise an error that names the missing or invalid setting.
        _ = self.apple_wallet, self.google_wallet
        if self.wallet_logo_file:
            read_logo(self.wallet_logo_file)

    def _ready_for_twilio(self) -> None:
        for name in ("twilio_account_sid", "twilio_auth_token", "twilio_from_number"):
            if not str(getattr(self, name)):
                raise ValueError(f"{name.upper()}: must be set when SMS_PROVIDER is twilio")
        if not _is_installed("twilio"):
            raise ValueError("SMS_PROVIDER: twilio requires Twilio's SDK: run pip install 'movieapp[sms]'")


def load_settings(env_files: Sequence[Path] = (Path(".env"),), secrets_dir: Path | None = None) -> Settings:
    """Read and check the settings.

    Args:
        env_files: files of `NAME=value` lines. Later files override earlier ones, and the process's
            environment overrides all. Missing files are skipped.
        secrets_dir: directory with one file for each setting, the form in which Docker and Kubernetes mount
            secrets. Has the lowest priority. Default: SECRETS_DIR of the environment, else /run/secrets if it
            exists.

    Raises:
        SettingsError: a setting is invalid. Has one line for the first one.
    """
    try:
        return Settings(
            _env_file=tuple(env_files),
            _env_file_encoding="utf-8",
            _secrets_dir=secrets_dir or _secrets_dir(),
        )
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        message = first["msg"].removeprefix("Value error, ")
        name = str(first["loc"][0]).upper() if first["loc"] else ""
        raise SettingsError(f"{name}: {message}" if name else message) from None
    except UnreadableSettings as error:  # for example a secret file that this user may not read
        reason = error.__cause__
        raise SettingsError(f"{reason}" if isinstance(reason, OSError) else f"{error}") from None


def _secrets_dir() -> Path | None:
    if named := os.environ.get("SECRETS_DIR"):
        if not Path(named).is_dir():
            raise SettingsError("SECRETS_DIR: must name an existing directory")
        return Path(named)
    return _MOUNTED_SECRETS if _MOUNTED_SECRETS.is_dir() else None
