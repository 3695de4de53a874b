"""What was changed by API over the catalogue file: registered versions, defaults, and what is active. Pure.

The catalogue file says what there is when a service starts. The registry is added to it, and says of its models only
what was decided by API. Postgres has it; gateways publish it in Redis, whence gateways and workers follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from shared.contract.catalogue import Catalogue, GroupName, Model, ModelName, ServedVersion, Version, VersionName
from shared.contract.errors import MalformedMessage
from shared.contract.tasks import TASKS


class RegisteredVersion(Version):
    """A version that was registered by API.

    Its artifact is below `MODEL_ROOTS` or a commit of the hub (`shared.service.artifacts`), and never changes.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    digest: str = Field(min_length=1, max_length=100, description="of the artifact's files, or its commit")


class RegisteredModel(BaseModel):
    """What was decided by API about one model.

    Attributes:
        generation: rises with each change.
        says: what the catalogue file said when it was decided, see `says_of`; empty for a model that is not in it.
        active: those of the versions that the file names which are active.
        versions: that were registered.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: ModelName
    task: str
    description: str
    group: GroupName | None = None
    generation: int = Field(ge=0)
    says: str = ""
    default: VersionName | None = None
    active: tuple[VersionName, ...] = ()
    versions: tuple[RegisteredVersion, ...] = ()


class Registry(BaseModel):
    """All of them.

    Attributes:
        epoch: rises with each change, so that of two registries the newer is known.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    epoch: int = Field(0, ge=0)
    models: tuple[RegisteredModel, ...] = ()

    @model_validator(mode="after")
    def _once(self) -> Self:
        if len({each.name for each in self.models}) < len(self.models):
            raise ValueError("a model is listed twice")
        return self

    def find(self, model: str) -> RegisteredModel | None:
        """What was decided about that model."""
        return next((each for each in self.models if each.name == model), None)

    def encode(self) -> bytes:
        """As JSON, without what is not said."""
        return self.model_dump_json(exclude_defaults=True).encode()


def decode_registry(text: bytes | str) -> Registry:
    """Read a registry.

    Raises:
        MalformedMessage: it is none.
    """
    try:
        return Registry.model_validate_json(text)
    except ValidationError as error:
        raise MalformedMessage("registry", f"the registry cannot be read: {error.errors()[0]['msg']}") from None


def says_of(model: Model) -> str:
    """What the catalogue file says of what can be changed by API: which versions are active, and which is the default.

    While it says the same, what was decided by API holds; once it says something else, that holds.
    """
    return " ".join(sorted(f"{each.version}={_state(each)}" for each in model.versions))


def merged(seed: Catalogue, registry: Registry) -> Catalogue:
    """The catalogue of a file with what was changed by API."""
    decided = {each.name: each for each in registry.models}
    models = [_with(each, decided.pop(each.name, None)) for each in seed.models]
    new = [made for each in decided.values() for made in _new(each)]
    return Catalogue.model_construct(models=(*models, *new), directory=seed.directory)


def leaving(seed: Catalogue, now: Catalogue) -> tuple[ServedVersion, ...]:
    """The versions that are inactive by API: what waits for them is still computed."""
    by_file = {each.label: each.version.active for each in seed.versions()}
    return tuple(each for each in now.versions() if not each.version.active and by_file.get(each.label, True))


def _state(version: Version) -> str:
    return "default" if version.default else "active" if version.active else "inactive"


def _with(model: Model, decided: RegisteredModel | None) -> Model:
    """A model of the file. Versions of a custom task are those of the file alone: it runs code with their artifacts."""
    if decided is None:
        return model
    said = decided.says == says_of(model)
    file_default = model.default_version.version if model.default_version else None
    default = decided.default if said else file_default
    own = [
        each.model_copy(
            update={
                "default": each.version == default,
                "active": each.version in decided.active if said else each.active,
            }
        )
        for each in model.versions
    ]
    named = {each.version for each in own}
    added = [each for each in decided.versions if each.version not in named] if model.task in TASKS else []
    return model.model_copy(update={"versions": (*own, *_by_default(added, default))})


def _new(decided: RegisteredModel) -> Iterator[Model]:
    if decided.task in TASKS and decided.versions:
        versions = tuple(_by_default(decided.versions, decided.default))
        yield Model(
            name=decided.name,
            task=decided.task,
            description=decided.description,
            group=decided.group,
            versions=versions,
        )


def _by_default(versions: Iterable[RegisteredVersion], default: str | None) -> Iterator[Version]:
    return (each.model_copy(update={"default": each.version == default}) for each in versions)
