"""The catalogue of a running service: the file's, with what is changed by API while it runs. Pure."""

from __future__ import annotations

from shared.contract.catalogue import Catalogue, Model, ServedVersion
from shared.contract.registry import Registry, leaving, merged


class LiveCatalogue:
    """Which models there are now.

    Attributes:
        seed: what the file says.
        registry: what was changed by API, as far as it is known here.
        now: both together.
    """

    def __init__(self, seed: Catalogue) -> None:
        self.seed, self.now = seed, seed
        self.registry = Registry()
        self._leaving: dict[str, ServedVersion] = {}

    def follow(self, registry: Registry) -> None:
        """Go over to another registry."""
        now = merged(self.seed, registry)
        self.registry, self.now = registry, now
        self._leaving = {each.label: each for each in leaving(self.seed, now)}

    @property
    def models(self) -> tuple[Model, ...]:
        """All models."""
        return self.now.models

    def find(self, name: str) -> Model | None:
        """The model with that name."""
        return self.now.find(name)

    def resolve(self, model: str, version: str | None) -> ServedVersion | None:
        """The active version that a request asks for: the default if it names none."""
        return self.now.resolve(model, version)

    def served(self) -> tuple[ServedVersion, ...]:
        """Every active version of every model."""
        return self.now.served()

    def serves(self, label: str) -> bool:
        """Whether a version, `model:version`, is active."""
        model, _, version = label.partition(":")
        return bool(version) and self.now.resolve(model, version) is not None

    @property
    def leaving(self) -> dict[str, ServedVersion]:
        """The versions that were made inactive by API, by label: nothing is accepted for them any more."""
        return self._leaving

    def generation(self, model: str) -> int:
        """How often something was decided about a model by API."""
        decided = self.registry.find(model)
        return 0 if decided is None else decided.generation
