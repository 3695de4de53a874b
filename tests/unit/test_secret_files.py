"""Secrets from files, and passwords that enter URLs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import asyncpg.connect_utils
import psycopg.conninfo
import pytest
from pydantic import SecretStr
from redis.asyncio.connection import parse_url

from gateway.settings import GatewaySettings
from inference_worker.settings import WorkerSettings
from migrations.settings import MigrateSettings
from persister.settings import PersisterSettings
from shared.contract.errors import ConfigurationError
from shared.service.secret_files import MOST_BYTES, with_password
from shared.service.settings import DatabaseSettings, Settings, load_settings

ALL: list[type[Settings]] = [
    *(Settings, DatabaseSettings, GatewaySettings, WorkerSettings, PersisterSettings, MigrateSettings),
]
PASSWORD = "p @:/%?#&+=é'\"\\ w"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment with none of the settings but what a gateway wants besides a secret."""
    for kind in ALL:
        for name in kind.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
    for name, value in {"AUTH": "off", "JWT_ISSUER": "https://issuer", "JWT_AUDIENCE": "millstream"}.items():
        monkeypatch.setenv(name, value)


def is_secret(kind: type[Settings], name: str) -> bool:
    return kind.model_fields[name].annotation in (SecretStr, SecretStr | None)


SECRETS = [(kind, name) for kind in ALL for name in kind.model_fields if is_secret(kind, name)]


@pytest.mark.parametrize(("kind", "name"), SECRETS)
def test_every_secret_may_be_in_a_file(
    kind: type[Settings], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert kind.model_fields[f"{name}_file"].annotation == Path | None
    of_their_own = {"database_url": "postgresql://db/x", "webhook_secret": "whsec_" + "aGlk" * 10}
    secret = of_their_own.get(name, "redis://hunter2/1" if name.endswith("_url") else "hunter2" * 5)
    (tmp_path / "secret").write_text(f"{secret}\n", encoding="utf-8")
    monkeypatch.setenv(f"{name.upper()}_FILE", str(tmp_path / "secret"))
    settings: Any = load_settings(kind)
    where = name.removesuffix("_password") if name.endswith("_url_password") else name
    assert secret in getattr(settings, where).get_secret_value()


@pytest.mark.parametrize(("content", "secret"), [("a\n", "a"), ("a\r\n", "a"), (" a ", " a "), ("a", "a")])
def test_only_the_newline_at_its_end_is_left_out(
    content: str, secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "token").write_bytes(content.encode())
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "token"))
    token = load_settings(WorkerSettings).hf_token
    assert token is not None and token.get_secret_value() == secret


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        ("folder", "cannot be read: Is a directory"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"hunter2" + b"x" * MOST_BYTES, "is larger than 64 kB"),
        (b"hunter2\xff", "is not text (UTF-8)"),
    ],
)
def test_a_file_without_a_secret_is_refused_in_words(
    content: bytes | str | None, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "secret"
    if isinstance(content, str):
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    monkeypatch.setenv("REDIS_URL_FILE", str(path))
    with pytest.raises(ConfigurationError, match=re.escape(f"REDIS_URL_FILE={path} {words}")) as told:
        load_settings(Settings)
    assert "hunter2" not in str(told.value)


def test_a_file_may_hold_as_much_as_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_bytes(b"x" * MOST_BYTES)
    monkeypatch.setenv("HF_TOKEN_FILE", str(tmp_path / "token"))
    assert load_settings(WorkerSettings).hf_token is not None


@pytest.mark.parametrize(("kind", "name"), SECRETS)
def test_a_secret_that_is_given_twice_is_refused(
    kind: type[Settings], name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("hunter2", encoding="utf-8")
    variable = name.upper()
    monkeypatch.setenv(variable, "hunter3")
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "secret"))
    with pytest.raises(ConfigurationError, match=f"{variable} and {variable}_FILE are both given") as told:
        load_settings(kind)
    assert "hunter" not in str(told.value)


def test_a_password_enters_its_url_whatever_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "rediss://gateway@cache:6380/1?ssl_ca_certs=/a@b.pem")
    monkeypatch.setenv("REDIS_URL_PASSWORD", PASSWORD)
    monkeypatch.setenv("DATABASE_URL", "postgresql://millstream_gateway@db:5433/millstream?sslmode=require")
    monkeypatch.setenv("DATABASE_URL_PASSWORD", PASSWORD)
    settings = load_settings(DatabaseSettings)
    redis: Any = parse_url(settings.redis_url.get_secret_value())
    assert (redis["username"], redis["password"], redis["host"]) == ("gateway", PASSWORD, "cache")
    url = settings.database_url.get_secret_value()
    by_libpq = psycopg.conninfo.conninfo_to_dict(url)
    assert (by_libpq["user"], by_libpq["password"], by_libpq["host"]) == ("millstream_gateway", PASSWORD, "db")
    addresses, by_asyncpg, *_ = asyncpg.connect_utils._parse_connect_dsn_and_args(
        **{"dsn": url, **dict.fromkeys(_ASYNCPG_ARGUMENTS)}
    )
    assert (addresses, by_asyncpg.user, by_asyncpg.password) == ([("db", 5433)], "millstream_gateway", PASSWORD)


_ASYNCPG_ARGUMENTS = (
    *("host", "port", "user", "password", "passfile", "database", "ssl", "service", "servicefile", "direct_tls"),
    *("server_settings", "target_session_attrs", "krbsrvname", "gsslib"),
)


def test_the_password_of_a_default_url_enters_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL_PASSWORD", "a/b")
    assert load_settings(Settings).redis_url.get_secret_value() == "redis://:a%2Fb@127.0.0.1:6379/0"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://h", "redis://:p%40@h"),
        ("redis://h?db=1", "redis://:p%40@h?db=1"),
        ("unix:///run/redis.sock", "unix://:p%40@/run/redis.sock"),
        ("postgresql://u@a:1,b:2/x", "postgresql://u:p%40@a:1,b:2/x"),
    ],
)
def test_a_password_stands_before_the_hosts(url: str, expected: str) -> None:
    assert with_password("REDIS_URL", url, "p@") == expected


@pytest.mark.parametrize("url", ["redis://:hunter2@cache", "redis://u:hunter2@cache/1"])
def test_a_url_with_a_password_and_another_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("REDIS_URL_PASSWORD", "hunter3")
    with pytest.raises(ConfigurationError, match="REDIS_URL holds a password, and REDIS_URL_PASSWORD is") as told:
        load_settings(Settings)
    assert "hunter" not in str(told.value)
