import sys
from pathlib import Path

import pytest

from app.settings import Settings, SettingsError, load_settings
from app.settings.reference import configuration_page, env_example


def load() -> Settings:
    return load_settings([])


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("RABBITMQ_URL", "http://user:hunter2@host", "must be a URL that starts with amqp://"),
        ("MONGODB_URI", "mongodb://user:hunter2@host", "must name a database after the host"),
        ("PAYMENT_GATEWAY_URL", "ftp://x", "must be a URL"),
        ("MAX_PAYMENT_AMOUNT", "plenty", "must be one amount above 0"),
        ("DEFAULT_CURRENCY", "XYZ", "ISO 4217"),
        ("LOG_LEVEL", "LOUD", "'DEBUG'"),
        ("RATELIMIT_PAYMENTS", "5 per fortnight", "such as '100 per minute"),
        ("SMTP_PORT", "70000", "less than or equal to 65535"),
        ("SMTP_SECURITY", "tls", "'starttls'"),
        ("SMTP_CA_FILE", "/nowhere.pem", "must name an existing file"),
        ("FROM_NAME", "Movies, Inc.", "must not contain"),
        ("FROM_EMAIL", "nobody", "email address"),
        ("PAYMENT_METHODS", "credit_card,cash", "'paypal'"),
        ("NAMESPACE", "a b", "pattern"),
        ("SMS_PROVIDER", "pigeon", "'none'"),
        ("TWILIO_ACCOUNT_SID", "../hunter2", "pattern"),
        ("TWILIO_FROM_NUMBER", "0049 (30) 123", "pattern"),
        ("TWILIO_API_BASE", "api.twilio.com", "must be a URL"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318", "must be a URL"),
    ],
)
def test_an_invalid_value_is_reported_in_one_line_that_names_the_variable(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, hint: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as wrong:
        load()
    message = str(wrong.value)
    assert message.startswith(f"{name}: ")
    assert hint in message
    assert "\n" not in message
    assert "hunter2" not in message


def test_a_gateway_timeout_longer_than_gunicorns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYMENT_GATEWAY_READ_TIMEOUT", "30")
    with pytest.raises(SettingsError, match="WEB_TIMEOUT: must exceed 98 s, the longest gateway call"):
        load()


def test_a_user_name_without_a_password_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_USERNAME", "tickets")
    with pytest.raises(SettingsError, match="SMTP_PASSWORD"):
        load()


TWILIO = {
    "SMS_PROVIDER": "twilio",
    "TWILIO_ACCOUNT_SID": "AC0123456789abcdef0123456789abcdef",
    "TWILIO_AUTH_TOKEN": "hunter2",
    "TWILIO_FROM_NUMBER": "+14155550100",
}


@pytest.mark.parametrize("missing", [name for name in TWILIO if name != "SMS_PROVIDER"])
def test_twilio_without_its_settings_is_refused(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    for name, value in TWILIO.items():
        monkeypatch.setenv(name, value)
    assert "hunter2" not in repr(load())
    monkeypatch.delenv(missing)
    with pytest.raises(SettingsError, match=f"^{missing}: must be set when SMS_PROVIDER is twilio$"):
        load()


def test_twilio_without_its_sdk_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TWILIO.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setitem(sys.modules, "twilio", None)  # as if it were not installed
    with pytest.raises(SettingsError, match=r"^SMS_PROVIDER: .*pip install 'movieapp\[sms\]'$"):
        load()


PRODUCTION = {
    "APP_ENV": "production",
    "PAYMENT_GATEWAY_API_KEY": "sk_live_x",
    "STRIPE_WEBHOOK_SECRET": "whsec_x",
    "TRUSTED_PROXIES": "1",
    "PUBLIC_URL": "https://payments.example.com",
    "DASHBOARD_SECRET_KEY": "0123456789abcdef0123456789abcdef",
}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("AUTH_REQUIRED", "0"),
        ("PAYMENT_GATEWAY_API_KEY", "sk_test_x"),
        ("STRIPE_WEBHOOK_SECRET", ""),
        ("RABBITMQ_URL", "redis://host"),
        ("TRUSTED_PROXIES", "0"),
        ("PUBLIC_URL", ""),
        ("PUBLIC_URL", "http://payments.example.com"),
        ("DASHBOARD_SECRET_KEY", ""),
        ("DASHBOARD_SECRET_KEY", "short"),
    ],
)
def test_production_refuses_what_is_unsafe(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    for variable, good in PRODUCTION.items():
        monkeypatch.setenv(variable, good)
    assert load().auth_required
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=f"^{name}: "):
        load().require_api_secrets()


@pytest.mark.parametrize("name", ["STRIPE_WEBHOOK_SECRET", "DASHBOARD_SECRET_KEY"])
def test_a_worker_starts_without_the_secrets_of_the_api(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for variable, good in PRODUCTION.items():
        if variable != name:
            monkeypatch.setenv(variable, good)
    assert load().app_env == "production"


def test_the_environment_overrides_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("LOG_LEVEL=DEBUG\nFROM_NAME='From the file'\n")
    monkeypatch.setenv("LOG_LEVEL", "ERROR")
    settings = load_settings([tmp_path / ".env"])
    assert (settings.log_level, settings.from_name) == ("ERROR", "From the file")


def test_a_secret_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "smtp_password").write_text("from the file\n")
    (tmp_path / "REDIS_URL").write_text("redis://from-the-file/0")
    (tmp_path / "from_name").write_text("The file")
    (tmp_path / "smtp_username").write_text("")
    (tmp_path / "kubernetes.io").mkdir()
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    monkeypatch.setenv("FROM_NAME", "The environment")
    settings = load()
    assert settings.smtp_password.get_secret_value() == "from the file"
    assert settings.redis_url == "redis://from-the-file/0"
    assert (settings.from_name, settings.smtp_username) == ("The environment", "")
    assert "from the file" not in repr(settings)


def test_an_invalid_secret_is_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path))
    (tmp_path / "rabbitmq_url").write_text("hunter2")
    with pytest.raises(SettingsError, match=r"^RABBITMQ_URL: must be a URL") as wrong:
        load()
    assert "hunter2" not in str(wrong.value)


def test_secrets_that_cannot_be_read_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SECRETS_DIR", str(tmp_path / "none"))
    with pytest.raises(SettingsError, match=r"^SECRETS_DIR: must name an existing directory$"):
        load()
    (tmp_path / "smtp_password").touch()

    def refuse(path: Path, *_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    # The tests may run as root, which can read everything.
    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.raises(SettingsError, match=r"Permission denied: '.*/smtp_password'$"):
        load_settings([], tmp_path)


def test_an_empty_value_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_PORT", "")
    assert load().smtp_port == 587


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "hunter2hunter2"
    for name in ("PAYMENT_GATEWAY_API_KEY", "SMTP_PASSWORD"):
        monkeypatch.setenv(name, secret)
    monkeypatch.setenv("RABBITMQ_URL", f"amqp://user:{secret}@host")
    monkeypatch.setenv("REDIS_URL", f"redis://user:{secret}@host/0")
    monkeypatch.setenv("MONGODB_URI", f"mongodb://user:{secret}@host/db")
    assert secret not in repr(load()) + str(load())


def test_generated_settings_files_are_up_to_date() -> None:
    root = Path(__file__).parents[2]
    assert (root / ".env.example").read_text() == env_example()
    assert (root / "docs/configuration.md").read_text() == configuration_page()


def test_a_missing_tracing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")
    monkeypatch.delitem(sys.modules, "opentelemetry.exporter", raising=False)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)  # as if it were not installed
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT: .*movieapp\[tracing\]"):
        load()
