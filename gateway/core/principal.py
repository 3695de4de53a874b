"""Who asks, and what they may do. Pure.

A principal's id is opaque and the same on every gateway: it alone reaches Redis, rows and logs, never a name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


class Scope(StrEnum):
    """What a principal may do. `read:all` includes `read`; no other scope includes another."""

    PREDICT = "predict"
    READ = "read"
    READ_ALL = "read:all"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks.

    Attributes:
        id: `p_…` (see `shared.contract.ids.principal_id`); empty where authentication is off.
        models: patterns of the models that it may use, as of a shell (`sentiment-*`).
        tenant: whom it belongs to; results are shared within one at most.
        profile: the name of its limits.
    """

    id: str
    scopes: frozenset[Scope]
    models: tuple[str, ...] = ("*",)
    tenant: str = ""
    profile: str = ""

    def may(self, scope: Scope) -> bool:
        """Whether it may do what needs this scope."""
        return scope in self.scopes or (scope is Scope.READ and Scope.READ_ALL in self.scopes)

    def may_use(self, model: str) -> bool:
        """Whether a model is there for it."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    @property
    def may_use_all(self) -> bool:
        """Whether every model is there for it."""
        return "*" in self.models

    def may_read(self, owner: str, model: str) -> bool:
        """Whether it may read a prediction: its own, or with `read:all` another's of a model that it may use.

        Args:
            owner: the id of the prediction's principal; empty for one that was made without authentication.
        """
        if Scope.READ_ALL in self.scopes:
            return self.may_use(model)
        return bool(owner) and owner == self.id


ANYBODY = Principal("", frozenset(Scope))  # everybody, where authentication is off
