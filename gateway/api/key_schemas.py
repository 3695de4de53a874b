"""Request and response bodies of /api/v1/api-keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gateway.core.principal import Scope
from shared.contract.tasks import NO_NUL

_Word = Annotated[str, Field(min_length=1, max_length=100, pattern=NO_NUL)]


class NewApiKey(BaseModel):
    """An API key that is to be made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Word = Field(description="of whom it is; keys of one name and tenant are one caller's", examples=["batch"])
    scopes: list[Scope] = Field(
        min_length=1, max_length=len(Scope), examples=[["predict", "read"]], description="what it may do"
    )
    models: list[_Word] | None = Field(
        None, min_length=1, max_length=50, description="patterns of the models it may use; default: all"
    )
    tenant: Annotated[str, Field(max_length=100, pattern=NO_NUL)] | None = Field(
        None, description="whom it belongs to; default: your own"
    )
    profile: Annotated[str, Field(max_length=100, pattern=NO_NUL)] | None = Field(
        None, description="the name of its limits"
    )
    expires_in_days: int | None = Field(365, ge=1, le=3650, description="null: it does not expire")


class ApiKeyInfo(BaseModel):
    """An API key, without what would let anybody use it."""

    id: str = Field(description="the id of the key, by which it is taken back")
    name: str = Field(description="what it was named when it was made")
    principal: str = Field(description="the id of the caller, as predictions and logs have it")
    scopes: list[Scope] = Field(description="what it may do")
    models: list[str] = Field(description="the models that it may use: names, or patterns with `*`")
    tenant: str = Field(description="whose predictions it may read beside its own; empty: nobody's")
    profile: str = Field(description="the name of the profile of limits that it has; empty: the default")
    created_at: datetime = Field(description="when it was made")
    expires_at: datetime | None = Field(description="when it ends; null: it does not")
    revoked_at: datetime | None = Field(description="when it was taken back; null: it was not")
    last_used_at: datetime | None = Field(description="to the minute; null if it never was")


class ApiKeyMade(ApiKeyInfo):
    """An API key that was just made."""

    key: str = Field(description="keep it: it is not shown again", examples=["msk_…"])


class ApiKeyPage(BaseModel):
    """One page of API keys."""

    items: list[ApiKeyInfo] = Field(description="the keys, newest first")
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last page")
