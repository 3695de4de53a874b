"""Settings of the gateway."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from shared.service.settings import DatabaseSettings, secret_file

MAX_WAIT_S = 60
LONGEST_TIMEOUT_S = 86_400  # that MAX_TIMEOUT_S can allow
_KEYS = ("JWKS_URL", "JWT_KEY_FILE", "JWT_SECRET")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class GatewaySettings(DatabaseSettings):
    """Where the gateway listens, and its limits."""

    gateway_host: str = Field("127.0.0.1", description="address to listen on; `::`: all, of both families")
    gateway_port: int = Field(8000, ge=0, le=65535, description="port to listen on")
    allowed_hosts: str = Field(
        "",
        max_length=2000,
        description="host names, separated by commas, that requests may ask for besides addresses, names without a dot "
        "and those of a Kubernetes cluster; `*`: all",
    )
    admin_host: str = Field(
        "127.0.0.1", description="address of /metrics, /health, /livez and /readyz for who runs the gateway"
    )
    admin_port: int = Field(8010, ge=0, le=65535, description="port of /metrics, /health, /livez and /readyz")
    auth: Literal["required", "off"] = Field(
        "required", description="whether it must be known who asks; `off`: everybody may do everything"
    )
    auth_off_is_intended: bool = Field(
        False, description="needed for AUTH=off where the gateway can be reached from other machines"
    )
    jwt_issuer: str | None = Field(None, max_length=500, description="`iss` of the tokens that are accepted")
    jwt_audience: str | None = Field(None, max_length=500, description="`aud` that tokens must have: this gateway")
    jwks_url: str | None = Field(
        None, max_length=2000, description="JWK set of the issuer, with https: the keys of tokens (RS256, ES256)"
    )
    jwt_key_file: Path | None = Field(
        None, description="in place of JWKS_URL: file with the public key of tokens, in PEM (RS256, ES256)"
    )
    jwt_secret: SecretStr | None = Field(
        None, description="in place of JWKS_URL: the secret of tokens, of 32 bytes or more (HS256)"
    )
    jwt_secret_file: Path | None = secret_file("JWT_SECRET")
    jwt_max_age_s: float = Field(
        86_400, ge=60, le=31_536_000, description="how long a token may be valid, and how old it may be"
    )
    jwt_leeway_s: float = Field(30, ge=0, le=300, description="by how much the clocks of issuer and gateway may differ")
    api_key_pepper: SecretStr | None = Field(
        None, description="secret that API keys are kept under, of 32 bytes or more; another one makes all keys invalid"
    )
    api_key_pepper_file: Path | None = secret_file("API_KEY_PEPPER")
    max_connections: int = Field(
        10_000, ge=1, le=1_000_000, description="connections before those without a request are closed for new ones"
    )
    keepalive_s: float = Field(
        75,
        ge=1,
        le=3600,
        description="seconds that a connection may be without a request; longer than the balancer before it keeps one",
    )
    drain_delay_s: float = Field(
        1,
        ge=0,
        le=300,
        description="seconds after SIGTERM to keep serving while /readyz fails, so that load balancers stop sending",
    )
    default_wait_s: float = Field(30, ge=0, le=MAX_WAIT_S, description="how long a request waits for its answer")
    request_timeout_s: float = Field(
        3600,
        gt=0,
        le=LONGEST_TIMEOUT_S,
        description="how long a request may stay in the queue before it expires",
    )
    max_timeout_s: float = Field(
        3600, gt=0, le=LONGEST_TIMEOUT_S, description="the longest `timeout` that a request may ask for"
    )
    max_body_bytes: int = Field(2_000_000, ge=1000, le=100_000_000, description="maximum size of a request body")
    accept_encoded_bodies: bool = Field(False, description="accept request bodies in gzip or deflate")
    body_timeout_s: float = Field(30, gt=0, le=600, description="how long to wait for a request body")
    max_text_chars: int = Field(50_000, ge=1, le=10_000_000, description="maximum length of a text")
    max_batch_texts: int = Field(256, ge=1, le=1000, description="maximum number of texts in a batch request")
    max_backlog: int = Field(
        50_000, ge=1, description="entries in the queue of a model version before requests are refused"
    )
    max_backlog_bytes: int = Field(
        64_000_000,
        ge=1000,
        description="bytes of inputs and options in the queue of a model version before requests are refused",
    )
    max_results: int = Field(200_000, ge=1, description="results not yet in Postgres before all requests are refused")
    max_memory_percent: int = Field(
        70, ge=1, le=100, description="percent of Redis's maxmemory in use before requests are refused"
    )
    limit_profiles: Path | None = Field(
        None, description="file with the limits of callers (docs/LIMITS.md); unset: no caller has limits of its own"
    )
    input_digest_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="secret of 32 characters or more, of the digests kept of inputs (`store_input` in the catalogue)",
    )
    input_digest_secret_file: Path | None = secret_file("INPUT_DIGEST_SECRET")
    redaction: str | None = Field(
        None,
        max_length=200,
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$",
        description="`module:function` of your own that takes a text and returns it redacted; unset: none",
    )
    redaction_stage: Literal["input", "store"] = Field(
        "input",
        description="`input`: the model sees the redacted text; `store`: it sees the original, only what is kept is "
        "redacted",
    )
    redaction_timeout_s: float = Field(
        1, gt=0, le=60, description="how long the redaction of a request's texts may take; beyond it is a 503"
    )
    max_in_flight: int = Field(10_000, ge=1, description="predictions a gateway waits for before it refuses requests")
    recheck_interval_s: float = Field(
        2,
        gt=0,
        le=60,
        description="how often to re-read the states of awaited predictions: of 1000 a second at most",
    )

    cache_secret: SecretStr | None = Field(
        None,
        min_length=32,
        description="secret of 32 characters or more, the same for all gateways, for the names of cached results; "
        "unset: no result is given again",
    )
    cache_secret_file: Path | None = secret_file("CACHE_SECRET")
    cache_redis_url: SecretStr | None = Field(
        None,
        description="a Redis for cached results alone, with `maxmemory-policy allkeys-lfu`; unset: that of REDIS_URL",
    )
    cache_redis_url_file: Path | None = secret_file("CACHE_REDIS_URL")
    cache_ttl_s: float = Field(3600, gt=0, le=2_592_000, description="how long a result may be given again")
    idempotency_ttl_s: float = Field(86_400, gt=0, le=604_800, description="how long an Idempotency-Key is remembered")
    max_idempotency_bytes: int = Field(
        100_000_000,
        ge=1000,
        description="bytes of Redis for remembering Idempotency-Keys (some 300 each) before new ones are refused",
    )
    dead_letter_days: float = Field(7, gt=0, le=3650, description="how long dead letters are kept")
    max_replays: int = Field(10, ge=1, le=1000, description="how often a dead-lettered request may be replayed")
    expiry_interval_s: float = Field(
        1, gt=0, le=60, description="how often to expire unread requests past their deadline"
    )

    @property
    def digest_secret(self) -> bytes:
        """The secret of digests; empty if there is none."""
        return self.input_digest_secret.get_secret_value().encode() if self.input_digest_secret else b""

    @field_validator("jwks_url")
    @classmethod
    def _key_set_cannot_be_swapped(cls, value: str | None) -> str | None:
        if value is not None:
            parts = urlsplit(value)
            is_safe = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
            if not is_safe or not parts.hostname or "@" in parts.netloc:
                raise ValueError("must be a URL with https and no password (http for this machine alone)")
        return value

    @model_validator(mode="after")
    def _asks_who(self) -> Self:
        keys = [name for name in _KEYS if getattr(self, name.lower()) is not None]
        if len(keys) > 1:
            raise ValueError(f"{' and '.join(keys)} are set: tokens have one source of keys, so leave the others out")
        if keys and not (self.jwt_issuer and self.jwt_audience):
            raise ValueError(f"{keys[0]} needs JWT_ISSUER and JWT_AUDIENCE, the `iss` and `aud` that tokens must have")
        if self.auth == "required" and not keys and self.api_key_pepper is None:
            raise ValueError(
                "AUTH is required, and there is no way to authenticate: set API_KEY_PEPPER_FILE for API keys, or "
                f"{', '.join(_KEYS)} for tokens (docs/AUTHENTICATION.md); on a machine of your own, AUTH=off lets "
                "everybody do everything"
            )
        if self.auth == "off" and not (self.auth_off_is_intended or is_loopback(self.gateway_host)):
            raise ValueError(
                f"AUTH is off, and GATEWAY_HOST ({self.gateway_host}) can be reached from other machines: everybody "
                "there could do everything. Turn AUTH on, listen on 127.0.0.1, or set AUTH_OFF_IS_INTENDED=true"
            )
        return self

    @model_validator(mode="after")
    def _delay_fits_grace(self) -> Self:
        if self.drain_delay_s >= self.shutdown_grace_s:
            raise ValueError(
                f"DRAIN_DELAY_S ({self.drain_delay_s:g}) must be below SHUTDOWN_GRACE_S ({self.shutdown_grace_s:g}), "
                "or there is no time left to answer waiting requests"
            )
        return self

    @model_validator(mode="after")
    def _timeout_fits(self) -> Self:
        if self.request_timeout_s > self.max_timeout_s:
            raise ValueError(
                f"REQUEST_TIMEOUT_S ({self.request_timeout_s:g}) must not exceed MAX_TIMEOUT_S ({self.max_timeout_s:g})"
            )
        return self

    @model_validator(mode="after")
    def _batch_fits_backlog(self) -> Self:
        if self.max_batch_texts > self.max_backlog:
            raise ValueError(
                f"MAX_BATCH_TEXTS ({self.max_batch_texts}) must not exceed MAX_BACKLOG ({self.max_backlog}), "
                "or a full batch can never be accepted"
            )
        if self.max_body_bytes > self.max_backlog_bytes:
            raise ValueError(
                f"MAX_BODY_BYTES ({self.max_body_bytes}) must not exceed MAX_BACKLOG_BYTES ({self.max_backlog_bytes}), "
                "or a large body can never be accepted"
            )
        return self
