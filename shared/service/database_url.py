"""DATABASE_URL means the same to both drivers that read it: asyncpg in the services, libpq in the migrate step. Pure.

What only one of them understands, or what each reads in a way of its own, is refused by name. asyncpg would send an
option that it does not know to the server, which refuses the connection; libpq would end in a traceback.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import quote, unquote, urlsplit

TLS_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
SERVER_KINDS = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
OPTIONS = (
    *("application_name", "dbname", "host", "options", "passfile", "password", "port", "sslcert", "sslcrl", "sslkey"),
    *("sslmode", "sslpassword", "sslrootcert", "ssl_min_protocol_version", "ssl_max_protocol_version"),
    *("target_session_attrs", "user"),
)
# Left out, since it changes nothing: DATABASE_TIMEOUT_S is the timeout of both drivers.
_LEFT_OUT = "connect_timeout"


def normalised(url: str) -> str:
    """The URL in the form that both drivers read alike.

    Raises:
        ValueError: it has something that they do not; the message names it, and quotes no password.
    """
    if "#" in url:
        raise ValueError("has a #: in a user or password, write it as %23")
    if re.search(r"%(?![0-9A-Fa-f]{2})", url):
        raise ValueError("has a % that is no percent-encoding: write it as %25")
    parts = urlsplit(url)
    if parts.scheme not in ("postgresql", "postgres"):
        raise ValueError("must start with postgresql://")
    login, _, hosts = parts.netloc.rpartition("@")
    if "@" in login + parts.path + parts.query:
        raise ValueError("has an @, a / or a ? in a user, password or option: write them as %40, %2F and %3F")
    for host in hosts.split(","):
        _check_port(host)
    query = "&".join(f"{name}={quote(value, safe='/,:')}" for name, value in _options(parts.query))
    return f"{parts.scheme}://{parts.netloc}{parts.path}" + (f"?{query}" if query else "")


def _check_port(host: str) -> None:
    name, colon, port = host.rpartition(":")
    if colon and "]" not in port and not (name and port.isdecimal() and 0 < int(port) < 65536):
        raise ValueError("has a port that is not a number from 1 to 65535")


def _options(query: str) -> Iterator[tuple[str, str]]:
    for option in filter(None, query.split("&")):
        name, _, encoded = option.partition("=")
        value = unquote(encoded)
        if not value:
            raise ValueError(f"has the option {name!r} without a value")
        if _is_kept(name, value):
            yield name, value


def _is_kept(name: str, value: str) -> bool:
    if name == "channel_binding":
        if value == "require":
            raise ValueError(
                "has channel_binding=require, which the services' driver cannot do: take "
                "sslmode=verify-full, which also protects from a server that is not the right one"
            )
        return False
    if name not in (*OPTIONS, _LEFT_OUT):
        raise ValueError(f"has the option {name!r}, which not all services understand; they do: {', '.join(OPTIONS)}")
    for option, values in (("sslmode", TLS_MODES), ("target_session_attrs", SERVER_KINDS)):
        if name == option and value not in values:
            raise ValueError(f"has {name}={value}; it is one of {', '.join(values)}")
    if (name, value) == ("sslrootcert", "system"):
        raise ValueError("has sslrootcert=system: name a file, such as /etc/ssl/certs/ca-certificates.crt")
    return name != _LEFT_OUT
