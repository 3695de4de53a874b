"""The header Cache-Control of a request (RFC 9111, section 5.2.1). Pure."""

from __future__ import annotations

from gateway.core.order import CacheWish


def cache_wish(header: str | None) -> CacheWish:
    """`no-cache`: compute anew; `no-store`: compute anew and keep nothing. What is not known is ignored."""
    if header is None:
        return CacheWish()
    directives = {each.partition("=")[0].strip().lower() for each in header.split(",")}
    stores = "no-store" not in directives
    return CacheWish(stores and "no-cache" not in directives, stores)
