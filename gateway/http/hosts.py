"""Whom the gateway answers: which host names a request may ask for, and which pages may write. Pure.

A page of any site can make its name lead to a loopback address (DNS rebinding) and then read what a local gateway
answers; its requests carry its own name in `Host`, though. Names that nobody on the internet can own are let through:
addresses, names without a dot, and those of a Kubernetes cluster; others by ALLOWED_HOSTS.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache

_OWN_SUFFIXES = (".localhost", ".svc", ".svc.cluster.local")
_READS = ("GET", "HEAD", "OPTIONS")


def host_of(header: str) -> str:
    """The name or address in a Host header (RFC 9110, section 7.2), in lower case, without its port."""
    name, _, port = header.strip().rpartition(":")
    if not name or not port.isdecimal():
        name = header.strip()
    return name.strip("[]").lower().rstrip(".")


@lru_cache(maxsize=1024)
def is_allowed(header: str, allowed: frozenset[str]) -> bool:
    """Whether requests with this Host header are answered.

    Args:
        allowed: further names, in lower case; `*` stands for all.
    """
    host = host_of(header)
    if "*" in allowed or host in allowed or "." not in host and ":" not in host:
        return True
    if host.endswith(_OWN_SUFFIXES):
        return True
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_cross_site_write(method: str, fetch_site: str | None) -> bool:
    """Whether a browser says (`Sec-Fetch-Site`, W3C Fetch Metadata) that a page of another site wants to write."""
    return method not in _READS and fetch_site in ("cross-site", "same-site")
