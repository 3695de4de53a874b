"""Who may use an operation: its handler runs only for a principal that has one of its scopes."""

from __future__ import annotations

from aiohttp import web

from gateway.core.errors import NotAllowed, Refused, Unauthenticated
from gateway.core.principal import Principal, Scope
from gateway.http.context import AUTHENTICATOR, PRINCIPAL, PROFILES, READS
from gateway.http.middleware import Handler
from gateway.http.openapi import Operation
from gateway.http.queries import Query, read_query


def guarded(operation: Operation) -> Handler:
    """The handler of an operation, which finds who asks at `request[PRINCIPAL]`.

    Before the body is read, it raises `Unauthenticated`, `Refused` or `NotAllowed`, `LimitReached` for who reads too
    often, and `ProblemError` for a query that an operation of the API does not take.
    """
    if not operation.scopes:
        return operation.handler

    async def handler(request: web.Request) -> web.StreamResponse:
        principal = await request.app[AUTHENTICATOR].authenticate(_authorization(request))
        if not any(principal.may(scope) for scope in operation.scopes):
            raise NotAllowed(operation.scopes)
        request[PRINCIPAL] = principal
        if operation.query is None and operation.path.startswith("/api/"):
            read_query(request, Query)  # it takes none
        rate = request.app[PROFILES].reads(principal) if operation.method == "GET" else None
        if rate is not None:
            request.app[READS].count(principal.id, rate)
        return await operation.handler(request)

    return handler


async def caller_of(request: web.Request) -> Principal | None:
    """Who makes a request to an operation that is open to all; None if nobody says so, or not validly."""
    authenticator, authorization = request.app[AUTHENTICATOR], _authorization(request)
    if authenticator.required and authorization is None:
        return None  # as a load balancer's: no failure
    try:
        return await authenticator.authenticate(authorization)
    except (Unauthenticated, Refused):
        return None


async def may_still(request: web.Request) -> bool:
    """Whether who was let in has the same rights as then."""
    try:
        return await request.app[AUTHENTICATOR].authenticate(_authorization(request)) == request[PRINCIPAL]
    except (Unauthenticated, Refused):
        return False


async def is_admin(request: web.Request) -> bool:
    """Whether a request to an operation that is open to all comes from an administrator."""
    principal = await caller_of(request)
    return principal is not None and principal.may(Scope.ADMIN)


def _authorization(request: web.Request) -> str | None:
    """The Authorization header; several as one, which is none that is valid: a proxy may look at another than we."""
    return ", ".join(request.headers.getall("Authorization", ())) or None
