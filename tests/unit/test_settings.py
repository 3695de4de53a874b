"""Settings are checked one by one and against each other, and secrets stay secret."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from gateway.settings import GatewaySettings
from inference_worker.settings import WorkerSettings
from persister.settings import PersisterSettings
from shared.contract.errors import ConfigurationError
from shared.service.settings import DatabaseSettings, Settings, load_settings

ALL: list[type[Settings]] = [Settings, DatabaseSettings, GatewaySettings, WorkerSettings, PersisterSettings]


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without any of the settings."""
    for kind in ALL:
        for name in kind.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("AUTH", "off")


@pytest.mark.parametrize("kind", ALL)
def test_the_defaults_fit_each_other(kind: type[Settings]) -> None:
    assert load_settings(kind).key_prefix == "millstream:"


@pytest.mark.parametrize(
    ("kind", "environment", "told"),
    [
        (Settings, {"READ_BLOCK_MS": "5000", "REDIS_TIMEOUT_MS": "5000"}, "READ_BLOCK_MS (5000) must be below"),
        (Settings, {"CLAIM_INTERVAL_MS": "61000"}, "CLAIM_INTERVAL_MS (61000) must not exceed"),
        (GatewaySettings, {"MAX_BATCH_TEXTS": "10", "MAX_BACKLOG": "9"}, "MAX_BATCH_TEXTS (10) must not exceed"),
        (PersisterSettings, {"STALL_TIMEOUT_S": "10"}, "STALL_TIMEOUT_S must exceed DATABASE_TIMEOUT_S"),
        (GatewaySettings, {"STALL_TIMEOUT_S": "5"}, "STALL_TIMEOUT_S (5) must exceed REDIS_TIMEOUT_MS (5000)"),
        (WorkerSettings, {"HEARTBEAT_TTL_S": "9", "HEARTBEAT_INTERVAL_S": "5"}, "HEARTBEAT_TTL_S must be at least"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    kind: type[Settings], environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(kind)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (Settings, "KEY_PREFIX", "with space"),
        (Settings, "KEY_PREFIX", "p" * 65),
        (Settings, "ENVIRONMENT", "moon"),
        (Settings, "LOG_LEVEL", "LOUD"),
        (Settings, "LOG_FORMAT", "xml"),
        (Settings, "OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
        (Settings, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://"),
        (Settings, "OTEL_TRACES_SAMPLER_ARG", "1.1"),
        (Settings, "SHUTDOWN_GRACE_S", "0"),
        (Settings, "REDIS_TIMEOUT_MS", "99"),
        (Settings, "MAX_DELIVERIES", "0"),
        (Settings, "VISIBILITY_TIMEOUT_MS", "299"),
        (DatabaseSettings, "DATABASE_POOL_SIZE", "0"),
        (GatewaySettings, "GATEWAY_PORT", "65536"),
        (GatewaySettings, "GATEWAY_PORT", "http"),
        (GatewaySettings, "DEFAULT_WAIT_S", "61"),
        (GatewaySettings, "MAX_MEMORY_PERCENT", "101"),
        (GatewaySettings, "MAX_BODY_BYTES", "999"),
        (WorkerSettings, "WORKER_CPUS", "0"),
        (PersisterSettings, "PERSIST_BATCH_SIZE", "0"),
    ],
)
def test_a_value_out_of_range_is_refused_and_its_variable_named(
    kind: type[Settings], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError, match=f"^{name}: "):
        load_settings(kind)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_PORT", "")
    assert load_settings(GatewaySettings).gateway_port == 8000


@pytest.mark.parametrize("kind", ALL)
def test_no_setting_shows_a_password(kind: type[Settings]) -> None:
    urls: dict[str, Any] = {"redis_url": "redis://:hunter2@cache/0", "database_url": "postgresql://me:hunter2@db/x"}
    settings = kind(**urls)
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.redis_url.get_secret_value() == urls["redis_url"]


def test_a_wrong_secret_is_not_repeated_in_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:hunter2@cache/0")
    monkeypatch.setenv("LOG_LEVEL", "LOUD")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(Settings)
    assert "hunter2" not in str(caught.value) and "LOUD" not in str(caught.value)


@pytest.mark.parametrize("kind", ALL)
def test_every_setting_is_described_and_no_address_with_a_password_is_plain(kind: type[Settings]) -> None:
    for name, field in kind.model_fields.items():
        assert field.description, name
        if name.endswith("_url") and name not in ("jwks_url", "aws_endpoint_url"):  # refused with one
            assert field.annotation in (SecretStr, SecretStr | None), name


LONG = "0123456789abcdef" * 2
FOR_US = {"JWT_ISSUER": "https://issuer.example", "JWT_AUDIENCE": "us"}


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"AUTH": "required"}, "AUTH is required, and there is no way to authenticate: set API_KEY_PEPPER_FILE"),
        ({"AUTH": ""}, "AUTH is required, and there is no way to authenticate"),
        ({"AUTH": "off", "GATEWAY_HOST": "0.0.0.0"}, "AUTH is off, and GATEWAY_HOST (0.0.0.0) can be reached"),
        ({"AUTH": "off", "GATEWAY_HOST": "::"}, "AUTH_OFF_IS_INTENDED=true"),
        ({"AUTH": "off", "GATEWAY_HOST": "10.0.0.7"}, "AUTH is off"),
        ({"AUTH": "off", "GATEWAY_HOST": "example.com"}, "AUTH is off"),
        ({"AUTH": "required", "JWT_SECRET": LONG}, "JWT_SECRET needs JWT_ISSUER and JWT_AUDIENCE"),
        ({"JWT_SECRET": LONG, "JWKS_URL": "https://a/", **FOR_US}, "JWKS_URL and JWT_SECRET are set"),
        ({"JWKS_URL": "http://issuer.example/jwks", **FOR_US}, "JWKS_URL: Value error, must be a URL with https"),
        ({"JWKS_URL": "https://me:hunter2@issuer.example/", **FOR_US}, "JWKS_URL: Value error, must be a URL"),
        ({"JWKS_URL": "file:///etc/passwd", **FOR_US}, "JWKS_URL: Value error, must be a URL"),
        ({"JWKS_URL": "https:///jwks", **FOR_US}, "JWKS_URL: Value error, must be a URL"),
    ],
)
def test_who_asks_must_be_settled(environment: dict[str, str], told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(GatewaySettings)
    assert told in str(caught.value) and "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "environment",
    [
        {"AUTH": "off", "GATEWAY_HOST": "127.0.0.2"},
        {"AUTH": "off", "GATEWAY_HOST": "::1"},
        {"AUTH": "off", "GATEWAY_HOST": "localhost"},
        {"AUTH": "off", "GATEWAY_HOST": "::", "AUTH_OFF_IS_INTENDED": "true"},
        {"AUTH": "required", "GATEWAY_HOST": "::", "API_KEY_PEPPER": LONG},
        {"AUTH": "required", "JWKS_URL": "https://issuer.example/jwks", **FOR_US},
        {"AUTH": "required", "JWKS_URL": "http://127.0.0.1:8080/jwks", **FOR_US},
        {"AUTH": "required", "JWT_KEY_FILE": "key.pem", **FOR_US},
    ],
)
def test_who_asks_is_settled(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert load_settings(GatewaySettings).auth == environment["AUTH"]
