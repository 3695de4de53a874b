"""Limits of callers, from the file that LIMIT_PROFILES names.

[profiles.default]                            # of callers without a profile
requests = {quota = 600, window_s = 60}
compute_ms = {quota = 30_000, window_s = 60}
queued = 1_000
queued_bytes = 10_000_000
waits = 500
reads = {quota = 6_000, window_s = 60}

[profiles.nightly]                            # what is not named is not limited
queued = 50_000

[weights]                                     # a request to this model counts as so many
text-summarization = 10

[principals]                                  # wins over the profile that credentials name
p_mfrggzdfmztwq2lknnwg23tpoa = "nightly"
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.core.principal import Principal
from shared.contract.errors import ConfigurationError
from shared.contract.limits import CallerLimits, Rate

DEFAULT = "default"
MOST_FILE_BYTES = 10_000_000

_Count = Annotated[int, Field(ge=1, le=10**12)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class _Rate(_Strict):
    quota: Annotated[float, Field(gt=0, le=1e12)]
    window_s: Annotated[float, Field(gt=0, le=86_400)]

    def rate(self) -> Rate:
        return Rate(self.quota, self.window_s)


class _Profile(_Strict):
    requests: _Rate | None = None
    compute_ms: _Rate | None = None
    queued: _Count | None = None
    queued_bytes: _Count | None = None
    waits: _Count | None = None
    reads: _Rate | None = None

    def limits(self) -> CallerLimits:
        return CallerLimits(
            self.requests.rate() if self.requests else None,
            self.compute_ms.rate() if self.compute_ms else None,
            self.queued,
            self.queued_bytes,
            self.waits,
        )


class _File(_Strict):
    profiles: dict[str, _Profile] = {}
    weights: dict[str, Annotated[float, Field(gt=0, le=1e6)]] = {}
    principals: dict[str, str] = {}


class Profiles:
    """The limits of all callers. Without a file nobody has any; nor has anybody where authentication is off."""

    def __init__(self, file: _File | None = None) -> None:
        file = file or _File()
        self._weights, self._names = file.weights, file.principals
        self._limits = {name: profile.limits() for name, profile in file.profiles.items()}
        self._reads = {name: profile.reads.rate() for name, profile in file.profiles.items() if profile.reads}

    def limits(self, principal: Principal, model: str) -> CallerLimits | None:
        """The limits of a caller for requests to a model; None for none."""
        found = self._limits.get(self._name_of(principal)) if principal.id else None
        weight = self._weights.get(model, 1.0)
        return found if found is None or weight == 1.0 else found._replace(weight=weight)

    def reads(self, principal: Principal) -> Rate | None:
        """How often a caller may read; None for as often as it likes."""
        return self._reads.get(self._name_of(principal)) if principal.id else None

    def _name_of(self, principal: Principal) -> str:
        name = self._names.get(principal.id, principal.profile)
        return name if name in self._limits else DEFAULT


def load_profiles(path: Path | None) -> Profiles:
    """Read the file.

    Raises:
        ConfigurationError: it cannot be read, or something in it is wrong.
    """
    if path is None:
        return Profiles()
    try:
        with path.open("rb") as file:
            text = file.read(MOST_FILE_BYTES + 1)
        if len(text) > MOST_FILE_BYTES:
            raise ConfigurationError(f"LIMIT_PROFILES: {path} has more than {MOST_FILE_BYTES} bytes")
        found = _File.model_validate(tomllib.loads(text.decode()))
    except OSError as error:
        raise ConfigurationError(f"LIMIT_PROFILES: {path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors()[:20])
        raise ConfigurationError(f"LIMIT_PROFILES: {path}: {wrong}") from None
    except ValueError as error:  # no TOML, or no UTF-8
        raise ConfigurationError(f"LIMIT_PROFILES: {path} is not TOML: {error}") from None
    for principal, name in found.principals.items():
        if name not in found.profiles:
            raise ConfigurationError(f"LIMIT_PROFILES: {path}: principals.{principal}: there is no profile {name!r}")
    return Profiles(found)
