"""What an administrator may give away: nothing that it does not have itself. Pure.

So a key of the scope `admin` alone makes keys of the scope `admin` alone: it cannot read what others sent by way of a
key that it makes. One with patterns of models, or of a tenant, makes keys within these.
"""

from __future__ import annotations

from collections.abc import Sequence

from gateway.core.errors import InvalidOrder
from gateway.core.principal import Principal

_SIGNS = "*?["


def check_grant(giver: Principal, wanted: Principal) -> None:
    """Check that a principal may give another what it is to have.

    Raises:
        InvalidOrder: it may not.
    """
    errors = []
    if scopes := sorted(scope for scope in wanted.scopes if not giver.may(scope)):
        errors.append((("body", "scopes"), f"you do not have {', '.join(scopes)} yourself, so you cannot give it"))
    if beyond := _beyond(giver.models, wanted.models):
        errors.append((("body", "models"), f"you may not use {', '.join(beyond)} yourself, so you cannot allow it"))
    if giver.tenant and wanted.tenant != giver.tenant:
        errors.append((("body", "tenant"), f"you may make keys of your own tenant only, {giver.tenant!r}"))
    if errors:
        raise InvalidOrder(errors)


def may_administer(admin: Principal, other: Principal) -> bool:
    """Whether the keys of another principal are there for this administrator."""
    return (not admin.tenant or admin.tenant == other.tenant) and not _beyond(admin.models, other.models)


def _beyond(has: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The patterns that may match more than what is had: any that is neither had as it is nor a name that matches."""
    principal = Principal("", frozenset(), tuple(has))
    if principal.may_use_all:
        return []
    return [
        each
        for each in wanted
        if each not in has and (any(sign in each for sign in _SIGNS) or not principal.may_use(each))
    ]
