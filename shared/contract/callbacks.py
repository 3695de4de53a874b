"""Where callbacks may go: which URLs are accepted, and which addresses nothing is ever sent to. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from urllib.parse import urlsplit

MOST_CHARS = 2000
_HOST = re.compile(r"(?!-)[a-z0-9-]{1,63}(\.(?!-)[a-z0-9-]{1,63})*", re.ASCII)
_NUMBER = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.ASCII)  # as a last label: some systems read such names as addresses
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48")  # to addresses of IPv4


def hosts_of(setting: str) -> tuple[str, ...]:
    """The hosts that CALLBACK_HOSTS names: `hooks.example.com`, `*.example.com` for all below, or `*` for all."""
    return tuple(each.strip().lower() for each in setting.split(",") if each.strip())


def refusal_of_url(url: str, hosts: Sequence[str], *, private: bool) -> str | None:
    """Why nothing may be sent to a URL; None if it may, as far as the URL tells.

    Args:
        hosts: see `hosts_of`.
        private: whether http and addresses of private networks are allowed.
    """
    if not hosts:
        return "callbacks are off here (CALLBACK_HOSTS)"
    if len(url) > MOST_CHARS or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return f"must be a URL of at most {MOST_CHARS} visible ASCII characters"
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "must be a URL"
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        return "must be a URL with https"
    if "@" in parts.netloc or parts.fragment or not host:
        return "must be a URL with a host, and without a user or a fragment"
    return _refusal_of_host(host, hosts, private=private)


def _refusal_of_host(host: str, hosts: Sequence[str], *, private: bool) -> str | None:
    address = _address(host)
    if address is None and (not _HOST.fullmatch(host) or _NUMBER.fullmatch(host.rpartition(".")[2])):
        return "must be a URL whose host is a name or an address"
    if address is not None and not private and not is_public(host):
        return f"{host} is an address of a private network"
    if not any(_matches(host, each) for each in hosts):
        return f"callbacks to {host} are not allowed here (CALLBACK_HOSTS)"
    return None


def shown(url: str) -> str:
    """What of a URL is shown to who may read its prediction: all but its query, which may hold a secret."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}{'?…' if parts.query else ''}"


def is_public(address: str) -> bool:
    """Whether an address is one of the public internet: not of a private network, this machine, or a group."""
    found = _address(address)
    if found is None or not found.is_global or found.is_multicast or found.is_reserved:
        return False
    if isinstance(found, ipaddress.IPv4Address):
        return True
    hides_another = found.ipv4_mapped or found.sixtofour or found.teredo
    return not hides_another and not any(found in network for network in _TRANSLATED)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _matches(host: str, pattern: str) -> bool:
    return pattern in ("*", host) or (pattern.startswith("*.") and host.endswith(pattern[1:]))
