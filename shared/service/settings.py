"""Settings that all services share, read from the environment (or `.env`) and checked against each other at startup.

Each service adds its own in `<service>/settings.py`. Every field has a description, and its unit in its name; the
table in docs/DEPLOYMENT.md is generated from these classes by `python -m scripts.settings_table`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.contract.buckets import is_place
from shared.contract.errors import ConfigurationError
from shared.service.artifacts import Sources
from shared.service.database_url import normalised
from shared.service.secret_files import read_secret, with_password


def secret_file(variable: str) -> Any:
    """The field for the file that may hold a secret in the place of its variable; its name is that with `_file`."""
    return Field(None, description=f"file that holds {variable}, in its place (at most 64 kB; read at the start)")


class Settings(BaseSettings):
    """Settings of every service."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="Redis (6.2 or later) or Valkey")
    redis_url_file: Path | None = secret_file("REDIS_URL")
    redis_url_password: SecretStr | None = Field(
        None, description="password of the user in REDIS_URL, which then has none itself; any characters, unencoded"
    )
    redis_url_password_file: Path | None = secret_file("REDIS_URL_PASSWORD")
    key_prefix: str = Field(
        "millstream:",
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9:_.{}-]+$",
        description="prefix of every Redis key",
    )
    model_catalogue: Path = Field(Path("models/models.toml"), description="path of the model catalogue")
    model_roots: str = Field(
        "",
        max_length=2000,
        description="directories, separated by `:`, below which the artifacts are that can be registered by API; "
        "unset: no directory can be registered",
    )
    hub_owners: str = Field(
        "",
        max_length=2000,
        description="owners on the model hub, separated by commas, whose models may be registered by API",
    )
    model_buckets: str = Field(
        "",
        max_length=2000,
        description="buckets, or paths in them, separated by commas, below which the artifacts are that can be "
        "registered by API, such as `s3://models/released`; unset: none of a bucket can be registered",
    )
    environment: Literal["local", "staging", "production"] = Field("local", description="added to every log line")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="lowest level logged")
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people")
    shutdown_grace_s: float = Field(30, gt=0, le=3600, description="seconds to drain after SIGTERM before giving up")
    redis_timeout_ms: int = Field(5000, ge=100, le=60_000, description="timeout for each reply of Redis")
    read_block_ms: int = Field(1000, ge=10, le=30_000, description="how long a read waits for new stream entries")
    visibility_timeout_ms: int = Field(
        60_000, ge=300, description="after this long without renewal, an entry can be claimed by another consumer"
    )
    max_deliveries: int = Field(3, ge=1, le=100, description="deliveries of one request before it is dead-lettered")
    claim_interval_ms: int = Field(2000, ge=50, description="how often to look for abandoned entries")
    stall_timeout_s: float = Field(30, gt=0, description="/livez fails when a loop has made no progress for this long")
    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        max_length=500,
        description="collector that traces are sent to (OTLP over HTTP, for example `http://localhost:4318`); "
        "unset: no traces; needs the extra `otel`",
    )
    otel_traces_sampler_arg: float = Field(
        1,
        ge=0,
        le=1,
        description="share of traces that are kept; a client's `traceparent` decides for its own trace",
    )

    otel_exporter_otlp_headers: SecretStr | None = Field(
        None, description="headers that the collector wants, such as `authorization=Bearer%20…`: `name=value,…`"
    )
    otel_exporter_otlp_headers_file: Path | None = secret_file("OTEL_EXPORTER_OTLP_HEADERS")

    @model_validator(mode="before")
    @classmethod
    def _secrets_are_complete(cls, values: Any) -> Any:
        """Read the secrets that are in files, and put passwords into their URLs."""
        given = dict(values)
        for name in cls.model_fields:
            path = given.get(f"{name}_file")
            if path is not None and given.get(name) is not None:
                raise ValueError(f"{name.upper()} and {name.upper()}_FILE are both given: leave one out")
            if path is not None:
                given[name] = read_secret(f"{name.upper()}_FILE", Path(path))
        for name in (each for each in cls.model_fields if each.endswith("_url")):
            password = given.pop(f"{name}_password", None)
            if password is not None:
                url = given.get(name) or cls.model_fields[name].default
                given[name] = with_password(name.upper(), _plain(url), _plain(password))
        return given

    @property
    def artifact_sources(self) -> Sources:
        """Where artifacts may be that are registered by API."""
        roots = [Path(each) for each in self.model_roots.split(":") if each]
        return Sources(roots, _listed(self.hub_owners), _listed(self.model_buckets))

    @field_validator("model_buckets")
    @classmethod
    def _buckets_are_places(cls, value: str) -> str:
        for each in _listed(value):
            if not is_place(each):
                raise ValueError(f"must be buckets or paths in them, such as s3://models/released, not {each!r}")
        return value

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _endpoint_is_a_url(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^\s/]+", value):
            raise ValueError(f"must be the URL of a collector, such as http://localhost:4318, not {value!r}")
        return value

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.read_block_ms >= self.redis_timeout_ms:
            raise ValueError(
                f"READ_BLOCK_MS ({self.read_block_ms}) must be below REDIS_TIMEOUT_MS ({self.redis_timeout_ms}), "
                "or every idle read would look like a lost connection"
            )
        if self.stall_timeout_s * 1000 <= self.redis_timeout_ms:
            raise ValueError(
                f"STALL_TIMEOUT_S ({self.stall_timeout_s:g}) must exceed REDIS_TIMEOUT_MS ({self.redis_timeout_ms}), "
                "or a loop that waits for one reply of Redis would look stuck"
            )
        if self.claim_interval_ms > self.visibility_timeout_ms:
            raise ValueError(
                f"CLAIM_INTERVAL_MS ({self.claim_interval_ms}) must not exceed "
                f"VISIBILITY_TIMEOUT_MS ({self.visibility_timeout_ms})"
            )
        return self


class DatabaseSettings(Settings):
    """Settings of the services that use Postgres."""

    database_url: SecretStr = Field(
        SecretStr("postgresql://millstream@127.0.0.1:5432/millstream"), description="Postgres (15 to 18)"
    )
    database_url_file: Path | None = secret_file("DATABASE_URL")
    database_url_password: SecretStr | None = Field(
        None, description="password of the user in DATABASE_URL, which then has none itself; any characters, unencoded"
    )
    database_url_password_file: Path | None = secret_file("DATABASE_URL_PASSWORD")
    database_pool_size: int = Field(4, ge=1, le=100, description="maximum connections per process")
    callback_hosts: str = Field(
        "",
        max_length=2000,
        description="hosts that callbacks may go to, separated by commas: `hooks.example.com`, `*.example.com`, `*`; "
        "empty: `callback_url` is refused",
    )
    callback_private_networks: bool = Field(
        False, description="let callbacks go to addresses of private networks, and over http: for receivers of your own"
    )
    database_timeout_s: float = Field(10, gt=0, le=300, description="timeout for a connection or a statement")

    @field_validator("database_url")
    @classmethod
    def _url_means_the_same_to_both_drivers(cls, value: SecretStr) -> SecretStr:
        return SecretStr(normalised(value.get_secret_value()))


def _listed(value: str) -> list[str]:
    return [each.strip() for each in value.split(",") if each.strip()]


def _plain(secret: SecretStr | str) -> str:
    return secret.get_secret_value() if isinstance(secret, SecretStr) else secret


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load_settings(kind: type[AnySettings], **given: Any) -> AnySettings:
    """Read one service's settings; those that are given stand in the place of variables.

    Raises:
        ConfigurationError: a variable is missing or wrong; the message names it, and no secret value.
    """
    try:
        return kind(**given)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])).upper() or 'settings'}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(problems) from None
