"""Settings that all services share, read from the environment (or `.env`) and checked against each other at start.

Each service adds its own in `<service>/settings.py`. Every field says what it means and, in its name, its unit; the
table in docs/DEPLOYMENT.md is made from these classes by `python -m scripts.settings_table`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, Self, TypeVar

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.contract.errors import ConfigurationError


class Settings(BaseSettings):
    """What every service needs to know."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore", frozen=True, env_ignore_empty=True)

    redis_url: SecretStr = Field(SecretStr("redis://127.0.0.1:6379/0"), description="the Redis (>= 6.2) or Valkey")
    key_prefix: str = Field(
        "millstream:",
        min_length=1,
        max_length=64,
        pattern=r"^[A-Za-z0-9:_.{}-]+$",
        description="before every Redis key",
    )
    model_catalogue: Path = Field(Path("models/models.toml"), description="the model catalogue")
    environment: Literal["local", "staging", "production"] = Field("local", description="named in every log line")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe level logged")
    log_format: Literal["json", "console"] = Field("json", description="json for machines, console for people")
    shutdown_grace_s: float = Field(30, gt=0, le=3600, description="seconds to drain after SIGTERM before giving up")
    redis_timeout_ms: int = Field(5000, ge=100, le=60_000, description="longest wait for one Redis answer")
    read_block_ms: int = Field(1000, ge=10, le=30_000, description="longest blocking read of a stream")
    visibility_timeout_ms: int = Field(
        60_000, ge=300, description="an entry held this long without renewal counts as abandoned"
    )
    max_deliveries: int = Field(3, ge=1, le=100, description="deliveries of one request before it is dead-lettered")
    claim_interval_ms: int = Field(2000, ge=50, description="how often abandoned entries are looked for")
    stall_timeout_s: float = Field(30, gt=0, description="/livez turns red when a loop has not moved for so long")
    otel_exporter_otlp_endpoint: str | None = Field(
        None,
        max_length=500,
        description="collector (OTLP over HTTP, as `http://localhost:4318`) that traces go to; unset: no traces; "
        "needs the extra `otel`",
    )
    otel_traces_sampler_arg: float = Field(
        1,
        ge=0,
        le=1,
        description="share of traces begun here that are kept; a client's `traceparent` decides for its own",
    )

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _endpoint_is_a_url(cls, value: str | None) -> str | None:
        if value is not None and not re.match(r"https?://[^\s/]+", value):
            raise ValueError(f"must be the address of a collector, as http://localhost:4318, not {value!r}")
        return value

    @model_validator(mode="after")
    def _relations(self) -> Self:
        if self.read_block_ms >= self.redis_timeout_ms:
            raise ValueError(
                f"READ_BLOCK_MS ({self.read_block_ms}) must be below REDIS_TIMEOUT_MS ({self.redis_timeout_ms}), "
                "or every idle read looks like a lost connection"
            )
        if self.claim_interval_ms > self.visibility_timeout_ms:
            raise ValueError(
                f"CLAIM_INTERVAL_MS ({self.claim_interval_ms}) must not exceed "
                f"VISIBILITY_TIMEOUT_MS ({self.visibility_timeout_ms})"
            )
        return self


class DatabaseSettings(Settings):
    """What the services that use Postgres need to know besides."""

    database_url: SecretStr = Field(
        SecretStr("postgresql://millstream@127.0.0.1:5432/millstream"), description="the Postgres (15 to 18)"
    )
    database_pool_size: int = Field(4, ge=1, le=100, description="most connections of one process")
    database_timeout_s: float = Field(10, gt=0, le=300, description="longest wait for a connection or a statement")


AnySettings = TypeVar("AnySettings", bound=BaseSettings)


def load_settings(kind: type[AnySettings]) -> AnySettings:
    """Read one service's settings.

    Raises:
        ConfigurationError: a variable is missing or wrong; the message names it, not its value where it is secret.
    """
    try:
        return kind()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, each['loc'])).upper() or 'settings'}: {each['msg']}"
            for each in error.errors(include_input=False, include_url=False)
        )
        raise ConfigurationError(problems) from None
