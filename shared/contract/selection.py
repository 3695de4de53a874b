"""What a worker serves, as `WORKER_MODELS` says it: names, patterns of names, and groups. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol, TypeVar

from shared.contract.errors import ConfigurationError

GROUP = "group:"
_WILDCARDS = "*?["


class Selectable(Protocol):
    """What a version is selected by; see `shared.contract.catalogue.ServedVersion`."""

    @property
    def model(self) -> str: ...

    @property
    def label(self) -> str: ...

    @property
    def group(self) -> str | None: ...


Chosen = TypeVar("Chosen", bound=Selectable)


@dataclass(frozen=True, slots=True)
class Selection:
    """The parts of a `WORKER_MODELS` setting.

    Attributes:
        included: of which a version must fit one.
        excluded: of which it must fit none.
    """

    included: tuple[str, ...]
    excluded: tuple[str, ...] = ()

    def has(self, served: Selectable) -> bool:
        """Whether a version is selected."""
        return any(_fits(served, each) for each in self.included) and not any(
            _fits(served, each) for each in self.excluded
        )

    def of(self, served: Sequence[Chosen]) -> tuple[Chosen, ...]:
        """Those of the versions that are selected."""
        return tuple(each for each in served if self.has(each))

    def check(self, served: Sequence[Selectable]) -> None:
        """Check that what is named is there, so that a name with a mistake in it is found; a pattern may wait.

        Raises:
            ConfigurationError: a name is not among the versions, or nothing is left and nothing may come.
        """
        known = {each.model for each in served} | {each.label for each in served}
        for name in sorted({*self.included, *self.excluded} - known):
            if not _may_come(name):
                raise ConfigurationError(
                    f"WORKER_MODELS names {name!r}, which is not an active model or model:version in the catalogue "
                    f"(known: {', '.join(sorted(known))})"
                )
        if not self.of(served) and not any(_may_come(each) and each != "*" for each in self.included):
            raise ConfigurationError(f"WORKER_MODELS={self} selects no model version to serve")

    def __str__(self) -> str:
        return repr(",".join([*self.included, *(f"!{each}" for each in self.excluded)]))


def parse_selection(wanted: str) -> Selection:
    """Read a `WORKER_MODELS` setting.

    Args:
        wanted: `*` for all, or a comma-separated list of `model` (all its versions), `model:version`, patterns of
            either as of a shell (`sentiment-*`), and `group:NAME` (the models of it); a `!` before one excludes it.
    """
    names = [part.strip() for part in wanted.split(",") if part.strip()]
    excluded = tuple(name[1:] for name in names if name.startswith("!"))
    return Selection(_all_if_none([name for name in names if not name.startswith("!")]), excluded)


def _all_if_none(names: Collection[str]) -> tuple[str, ...]:
    return tuple(names) or ("*",)


def _fits(served: Selectable, name: str) -> bool:
    if name.startswith(GROUP):
        return served.group == name.removeprefix(GROUP)
    return fnmatchcase(served.model, name) or fnmatchcase(served.label, name)


def _may_come(name: str) -> bool:
    """Whether it may fit versions that are registered later."""
    return name.startswith(GROUP) or any(each in name for each in _WILDCARDS)
