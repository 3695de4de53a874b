"""Settings of the persister."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from persister.webhook_sender import keys_of
from shared.service.settings import DatabaseSettings, secret_file


class PersisterSettings(DatabaseSettings):
    """How results are written to Postgres in batches, and how often drift is measured."""

    persister_metrics_host: str = Field("127.0.0.1", description="address of /metrics, /livez and /readyz")
    persister_metrics_port: int = Field(8002, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    persist_batch_size: int = Field(500, ge=1, le=5000, description="most rows written in one statement")
    persist_max_wait_ms: int = Field(
        50, ge=0, le=5000, description="how long a batch that is not full waits for more rows"
    )
    drift_interval_s: float = Field(60, ge=0, le=86_400, description="how often drift is measured; 0: never")
    drift_window: int = Field(
        1000,
        ge=100,
        le=100_000,
        description="how many of a version's first predictions are compared with as many of its newest",
    )
    webhook_secret: SecretStr | None = Field(
        None,
        description="what callbacks are signed with: `whsec_` and the base64 of 24 to 64 bytes; while it is replaced, "
        "the new one and the old one, in lines of their own",
    )
    webhook_secret_file: Path | None = secret_file("WEBHOOK_SECRET")
    partition_months_ahead: int = Field(2, ge=1, le=24, description="how many months ahead partitions are made")

    @model_validator(mode="after")
    def _callbacks_are_signed(self) -> Self:
        if self.webhook_secret is not None:
            keys_of(self.webhook_secret.get_secret_value())
        elif self.callback_hosts:
            raise ValueError("CALLBACK_HOSTS needs WEBHOOK_SECRET_FILE, the secret that callbacks are signed with")
        return self

    @model_validator(mode="after")
    def _a_statement_is_no_stall(self) -> Self:
        if self.stall_timeout_s <= self.database_timeout_s:
            raise ValueError(
                "STALL_TIMEOUT_S must exceed DATABASE_TIMEOUT_S, or a slow statement looks like a stuck loop"
            )
        return self
