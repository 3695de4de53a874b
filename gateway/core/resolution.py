"""Which version a caller's request is for. Pure."""

from __future__ import annotations

from gateway.core.errors import UnknownModel
from gateway.core.principal import Principal
from shared.contract.catalogue import ServedVersion
from shared.contract.live_catalogue import LiveCatalogue


def resolve(
    catalogue: LiveCatalogue, caller: Principal, model: str, version: str | None, assigned: str | None = None
) -> ServedVersion:
    """The active version that a request is for: the default if it names none.

    Args:
        version: that the request names; None for none.
        assigned: that an experiment gives it instead.

    Raises:
        UnknownModel: there is none, or the caller may not know of it.
    """
    allowed = caller.may_use(model)
    served = catalogue.resolve(model, assigned or version) if allowed else None
    if served is not None:
        return served
    found = catalogue.find(model) if allowed else None
    if found is None:
        names = [each.name for each in catalogue.models]
        raise UnknownModel(model, None, [each for each in names if caller.may_use(each)])
    raise UnknownModel(model, version or "", [each.version for each in found.versions if each.active])
