"""Settings of the inference worker."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, SecretStr, model_validator

from shared.service.settings import Settings, secret_file


class WorkerSettings(Settings):
    """What a worker serves, with which CPUs, and how it says that it is alive."""

    worker_models: str = Field(
        "*",
        min_length=1,
        description="`*`, or a list of `model`, `model:version`, patterns of them (`sentiment-*`), `group:name`, and "
        "`!…` to leave out",
    )
    worker_metrics_host: str = Field("127.0.0.1", description="address of /metrics, /livez and /readyz")
    worker_metrics_port: int = Field(8001, ge=0, le=65535, description="port of /metrics, /livez and /readyz")
    worker_cpus: float | None = Field(
        None, gt=0, le=1024, description="CPUs for torch; unset: all that the process may use"
    )
    worker_memory_mb: int | None = Field(
        None,
        ge=1,
        le=10_000_000,
        description="MB of memory for the processes of all models together; a version that would not fit takes the "
        "place of the one that was used least recently. Unset: no limit",
    )
    worker_strict: bool = Field(
        False, description="end with code 2 if a version cannot be loaded, instead of serving the others"
    )
    load_timeout_s: float = Field(
        600, gt=0, le=7200, description="a model version that takes longer to load (and to be fetched) cannot serve"
    )
    expose_model_errors: bool | None = Field(
        None,
        description="tell callers the class and message of what a model raises (the worker's log always has it); "
        "unset: only if ENVIRONMENT is `local`",
    )
    heartbeat_interval_s: float = Field(5, gt=0, le=60, description="how often a worker says that it is alive")
    heartbeat_ttl_s: float = Field(15, gt=0, le=600, description="a worker that is silent for this long counts as dead")

    hf_token: SecretStr | None = Field(None, description="password for models of the Hugging Face hub that want one")
    hf_token_file: Path | None = secret_file("HF_TOKEN")
    # Read by the hub's library and its HTTP client, from the environment: named here so that they are passed on.
    hf_endpoint: str | None = Field(None, min_length=1, description="address of a mirror of the Hugging Face hub")
    hf_hub_offline: bool = Field(False, description="never ask the hub: serve what is in its cache (`HF_HOME`)")
    https_proxy: str | None = Field(None, min_length=1, description="proxy through which the hub is asked")
    no_proxy: str | None = Field(None, min_length=1, description="hosts that are asked without the proxy")

    artifact_cache: Path = Field(
        Path(".cache/artifacts"),
        description="folder that artifacts of buckets are fetched into; workers of one machine may share it",
    )
    artifact_cache_mb: int = Field(
        20_000,
        ge=1,
        le=100_000_000,
        description="MB that they may take there; those that nobody serves and that were used least recently go first",
    )
    aws_endpoint_url: str | None = Field(
        None,
        max_length=500,
        pattern=r"^https?://[^\s/@]+(/\S*)?$",
        description="address of an S3 store that is not AWS, such as `http://minio:9000`",
    )
    aws_region: str | None = Field(None, min_length=1, max_length=50, description="region of the buckets")
    aws_access_key_id: str | None = Field(
        None,
        min_length=1,
        max_length=200,
        description="key to the buckets, which needs the right `s3:GetObject` only; unset: of "
        "AWS_SHARED_CREDENTIALS_FILE, or what a pod or machine is given by its role",
    )
    aws_secret_access_key: SecretStr | None = Field(None, description="secret of AWS_ACCESS_KEY_ID")
    aws_secret_access_key_file: Path | None = secret_file("AWS_SECRET_ACCESS_KEY")
    aws_shared_credentials_file: Path | None = Field(
        None, description="file with such a key in its section `[default]`, read again whenever something is fetched"
    )

    @property
    def exposes_model_errors(self) -> bool:
        """Whether callers are told what a model raised."""
        return self.environment == "local" if self.expose_model_errors is None else self.expose_model_errors

    @model_validator(mode="after")
    def _key_has_a_secret(self) -> Self:
        if self.aws_access_key_id is not None and self.aws_secret_access_key is None:
            raise ValueError("AWS_ACCESS_KEY_ID needs its secret: set AWS_SECRET_ACCESS_KEY, or its file, too")
        return self

    @model_validator(mode="after")
    def _heartbeat_outlives_interval(self) -> Self:
        if self.heartbeat_ttl_s < 2 * self.heartbeat_interval_s:
            raise ValueError("HEARTBEAT_TTL_S must be at least twice HEARTBEAT_INTERVAL_S, or live workers look dead")
        return self
