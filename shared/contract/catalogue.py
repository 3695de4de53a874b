"""The model catalogue: which models exist, in which versions, and how each is served.

The catalogue is one TOML file (`models/models.toml`), read by the gateway to resolve versions, by the worker to load
artifacts, and by the migrate step to fill the tables `models` and `model_versions`. Pure:
`shared.service.catalogue_file` reads the file.
"""

from __future__ import annotations

import posixpath
import re
import tomllib
from functools import cached_property
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.contract.buckets import BUCKET_PREFIX
from shared.contract.errors import ConfigurationError
from shared.contract.messages import MODEL_MAX_CHARS, VERSION_MAX_CHARS
from shared.contract.options import CUSTOM_DEFAULT
from shared.contract.selection import GROUP, parse_selection
from shared.contract.tasks import TASKS, wrong_dtype, wrong_engine

HUB_PREFIX = "hf://"
ELSEWHERE = (HUB_PREFIX, BUCKET_PREFIX)  # what is not a directory of this machine begins with
MOST = 1_000_000_000
# Tokens of a pass. On a CPU some hundred already keep every core busy, and what a larger pass adds is padding (see
# `inference_worker.tasks.forward`). A GPU needs thousands to be busy at all; this many is what
# text-embeddings-inference gives it too.
CPU_TOKENS, GPU_TOKENS = 512, 16_384
GPUS = ("cuda", "mps")

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
_TASK = re.compile(r"^(?:[A-Za-z_][\w.]*|[^:\x00]+\.py):[A-Za-z_]\w*$")

ModelName = Annotated[str, Field(min_length=1, max_length=MODEL_MAX_CHARS, pattern=NAME_PATTERN)]
OptionName = Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[A-Za-z_]\w*$")]
VersionName = Annotated[str, Field(min_length=1, max_length=VERSION_MAX_CHARS, pattern=NAME_PATTERN)]
GroupName = Annotated[str, Field(min_length=1, max_length=100, pattern=NAME_PATTERN)]
# As pip takes it (PEP 508), but no option of pip.
Requirement = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][^\x00-\x1f]*$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
StoreInput = Literal["whole", "digest", "none"]  # what is kept of an input once its request has ended


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BatchLimits(_Strict):
    """How the worker batches one model version."""

    max_batch_size: int = Field(32, ge=1, le=256, description="requests computed in one forward pass")
    max_batch_tokens: int | None = Field(
        None,
        ge=64,
        le=1_000_000,
        description=f"padded tokens in one forward pass; unset: {CPU_TOKENS} on a CPU, {GPU_TOKENS} on a GPU",
    )
    max_wait_ms: int = Field(0, ge=0, le=1000, description="how long an unfilled batch waits for more requests, in ms")

    @property
    def tokens(self) -> int:
        """`max_batch_tokens`, or what it is on a CPU."""
        return self.max_batch_tokens or CPU_TOKENS

    def or_tokens(self, tokens: int) -> Self:
        """These limits, with so many tokens if they leave that open."""
        return self if self.max_batch_tokens else self.model_copy(update={"max_batch_tokens": tokens})


class InputLimits(_Strict):
    """The most that one text may cost a model version; a text over it is refused, or ends as `invalid_input`."""

    chars: int | None = Field(
        None, ge=1, le=MOST, description="characters of a text; unset: MAX_TEXT_CHARS of the gateway"
    )
    tokens: int = Field(32_768, ge=1, le=MOST, description="padded tokens of a text, in all its chunks")
    chunks: int = Field(2048, ge=1, le=MOST, description="rows of a text: its chunks, or sentences, for each label")
    labels: int = Field(64, ge=1, le=MOST, description="candidate labels of a text (the option `labels`)")


class VersionSettings(_Strict):
    """An artifact of a model, and how to run it."""

    version: VersionName = Field(description="its name, unique in the model: lower-case letters, digits, `.`, `_`, `-`")
    artifact: str = Field(
        "",
        max_length=255,
        description="directory relative to the catalogue file, hf://owner/name[@revision], or "
        "s3://bucket/path@sha256:…; a class of your own may have none",
    )
    dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32",
        description="what the weights are computed in; bfloat16 is faster on CPUs that have it, and float32 on "
        "others; float16 is for GPUs",
    )
    device: str = Field(
        "auto",
        pattern=r"^(auto|cpu|mps|cuda(:\d{1,2})?)$",
        description="where torch computes: `cpu`, `cuda`, `cuda:1`, `mps`; auto: on a GPU if torch sees one",
    )
    engine: Literal["torch", "openvino", "onnxruntime"] = Field(
        "torch", description="what computes a built-in task's encoder; onnxruntime needs packages of its own"
    )
    cache: Literal["tenant", "global", "off"] = Field(
        "tenant",
        description="who may be given a result again: callers of the same tenant, all, or nobody; needs CACHE_SECRET",
    )
    store_input: StoreInput | None = Field(
        None, description="as of the model, for this version; unset: as the model says"
    )
    batch: BatchLimits = Field(BatchLimits(), description="how its requests are computed together")
    limits: InputLimits = Field(InputLimits(), description="what one text may cost at most; beyond it is a 422")
    processes: int | None = Field(
        None, ge=1, le=64, description="child processes; unset: one for each CPU if the model is small, otherwise one"
    )
    compute_timeout_s: float = Field(300, gt=0, le=3600, description="a batch that takes longer loses its process")
    max_memory_mb: int | None = Field(
        None,
        ge=64,
        le=MOST,
        description="what a child may allocate beyond the loaded model (unset: all that the worker is given); "
        "one that has grown by half of it is replaced",
    )
    max_requests: int | None = Field(None, ge=1, le=MOST, description="a child is replaced after so many requests")
    max_output_bytes: int = Field(1_000_000, ge=100, le=50_000_000, description="JSON bytes of one result")

    @model_validator(mode="after")
    def _engine_can(self) -> Self:
        if self.engine != "torch" and self.device not in ("auto", "cpu"):
            raise ValueError(f"engine {self.engine!r} computes on a CPU, not on {self.device!r}: choose engine 'torch'")
        if wrong := wrong_dtype(self.engine, self.dtype):
            raise ValueError(wrong)
        return self


class Version(VersionSettings):
    """One version of a model."""

    default: bool = Field(False, description="it serves requests that name no version: true for exactly one, active")
    sha256: Sha256 | Annotated[dict[str, Sha256], Field(min_length=1, max_length=1000)] | None = Field(
        None,
        description="SHA-256 of its weights, compared when it is loaded: of its only *.safetensors file, or of each by "
        "its path in the artifact",
    )
    active: bool = Field(True, description="false: it is not served; requests for it are a 404")
    requirements: tuple[Requirement, ...] = Field(
        (),
        max_length=50,
        description="packages that it needs besides those of Millstream, as for pip; `make models` installs them",
    )


class Model(_Strict):
    """A model, under the name that clients send."""

    name: ModelName = Field(description="lower-case letters, digits, `.`, `_`, `-`; unique")
    task: str = Field(
        description=f"one of {', '.join(TASKS)}; or a class of your own, `package.module:Class` or `file.py:Class`"
    )
    description: str = Field(min_length=1, max_length=500, description="for people, in `GET /api/v1/models`")
    group: GroupName | None = Field(None, description="workers may select it by this (`WORKER_MODELS=group:NAME`)")
    options: tuple[OptionName, ...] = Field(
        CUSTOM_DEFAULT, max_length=64, description="names of the options that a custom task accepts"
    )
    store_input: StoreInput = Field(
        "whole",
        description="what is kept of an input once its request has ended: all, a keyed digest of its text, or nothing",
    )
    retention_days: int | None = Field(
        None, ge=1, le=36_500, description="predictions are deleted this long after they were accepted; unset: never"
    )
    versions: tuple[Version, ...] = Field(min_length=1, description="a `[[models.versions]]` for each, see below")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.task not in TASKS and not _TASK.match(self.task):
            known = ", ".join(TASKS)
            raise ValueError(
                f"task {self.task!r} is not one of {known}, nor a class ('package.module:Class', 'file.py:Class')"
            )
        if self.name == GROUP.removesuffix(":"):
            raise ValueError(f"no model can be named {self.name!r}: workers select groups by it")
        if self.task in TASKS and "options" in self.model_fields_set:
            raise ValueError(f"task {self.task!r} defines its own options: remove `options`")
        for version in self.versions:
            if self.task in TASKS and not version.artifact:
                raise ValueError(f"version {version.version!r} needs an `artifact`: task {self.task!r} is built in")
            if self.task not in TASKS and version.engine != "torch":
                raise ValueError(f"version {version.version!r}: engine is for built-in tasks; {self.task!r} is a class")
            if wrong := wrong_engine(self.task, version.engine):
                raise ValueError(f"version {version.version!r}: {wrong}")
        names = [version.version for version in self.versions]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"version {min(twice)!r} of model {self.name!r} is listed twice")
        return self

    @property
    def default_version(self) -> Version | None:
        """The version used for requests that name none; a model that was registered by API may have none yet."""
        return next((version for version in self.versions if version.default), None)

    def find(self, version: str) -> Version | None:
        """The version with that name, active or not."""
        return next((each for each in self.versions if each.version == version), None)


class ServedVersion(_Strict):
    """An active model version, as gateway and worker use it."""

    model: str
    task: str
    version: Version
    options: tuple[str, ...] = CUSTOM_DEFAULT
    store_input: StoreInput = "whole"
    group: str | None = None

    @property
    def label(self) -> str:
        """`model:version`, as in WORKER_MODELS, logs and error messages."""
        return f"{self.model}:{self.version.version}"


class Catalogue(_Strict):
    """All models."""

    models: tuple[Model, ...] = Field(min_length=1)
    directory: str = "."

    @model_validator(mode="after")
    def _unique(self) -> Self:
        names = [model.name for model in self.models]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"model {min(twice)!r} is listed twice")
        return self

    def find(self, name: str) -> Model | None:
        """The model with that name."""
        return next((model for model in self.models if model.name == name), None)

    def resolve(self, model: str, version: str | None) -> ServedVersion | None:
        """The active version that a request asks for: the default if it names none."""
        return self._by_name.get((model, version))

    @cached_property
    def _by_name(self) -> dict[tuple[str, str | None], ServedVersion]:
        named: dict[tuple[str, str | None], ServedVersion] = {}
        for each in self.served():
            named[each.model, each.version.version] = each
            if each.version.default:
                named[each.model, None] = each
        return named

    def served(self) -> tuple[ServedVersion, ...]:
        """Every active version of every model."""
        return tuple(each for each in self.versions() if each.version.active)

    def versions(self) -> tuple[ServedVersion, ...]:
        """Every version of every model."""
        return tuple(
            ServedVersion(
                model=model.name,
                task=model.task,
                version=version,
                options=model.options,
                store_input=version.store_input or model.store_input,
                group=model.group,
            )
            for model in self.models
            for version in model.versions
        )

    def select(self, wanted: str) -> tuple[ServedVersion, ...]:
        """The active versions that a `WORKER_MODELS` setting selects; see `parse_selection`.

        Raises:
            ConfigurationError: a name is not in the catalogue, or nothing is left.
        """
        selection, served = parse_selection(wanted), self.served()
        selection.check(served)
        return selection.of(served)

    def artifact_location(self, version: Version) -> str:
        """Where the artifact is: an absolute directory, its address if it is elsewhere, or empty if there is none."""
        if not version.artifact or version.artifact.startswith(ELSEWHERE):
            return version.artifact
        return posixpath.normpath(posixpath.join(self.directory, version.artifact))


def parse_catalogue(text: str, directory: str = ".") -> Catalogue:
    """Parse the catalogue's TOML text.

    Args:
        directory: base of artifact paths that are relative.

    Raises:
        ConfigurationError: the text is not TOML or not a catalogue; the message names the field.
    """
    try:
        catalogue = Catalogue.model_validate({**tomllib.loads(text), "directory": directory})
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"the model catalogue is not valid TOML: {error}") from error
    except ValidationError as error:
        where = "; ".join(f"{'.'.join(map(str, each['loc'])) or 'file'}: {each['msg']}" for each in error.errors())
        raise ConfigurationError(f"the model catalogue is not valid: {where}") from error
    for model in catalogue.models:
        if [version.active for version in model.versions if version.default] != [True]:
            detail = f"model {model.name!r} needs exactly one version with default = true, and it must be active"
            raise ConfigurationError(f"the model catalogue is not valid: {detail}")
    return catalogue
