"""Settings of the persister."""

from __future__ import annotations

from pydantic import Field

from shared.service.settings import DatabaseSettings


class PersisterSettings(DatabaseSettings):
    """How results are batched into Postgres."""

    persister_metrics_host: str = Field("127.0.0.1", description="address of /metrics, /livez and /readyz")
    persister_metrics_port: int = Field(8002, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    persist_batch_size: int = Field(500, ge=1, le=5000, description="rows written in one statement")
    persist_max_wait_ms: int = Field(50, ge=0, le=5000, description="how long an unfilled batch waits for more rows")
    drift_interval_s: float = Field(60, ge=0, le=86_400, description="how often drift is measured; 0: never")
    drift_window: int = Field(
        1000, ge=100, le=100_000, description="predictions compared: the first so many of a version with the newest"
    )
    partition_months_ahead: int = Field(2, ge=1, le=24, description="monthly partitions made before they are needed")
