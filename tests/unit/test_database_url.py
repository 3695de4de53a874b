"""DATABASE_URL is read alike by both drivers, or refused by name; a password is never quoted."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import psycopg.conninfo
import pytest
from asyncpg import connect_utils
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.errors import ConfigurationError
from shared.service.database_url import normalised
from shared.service.settings import DatabaseSettings, load_settings

START = "postgresql://u:secret@h/db"


def as_asyncpg(url: str) -> dict[str, Any]:
    """How the services' driver reads a URL."""
    arguments: dict[str, Any] = dict.fromkeys(
        ("host", "port", "user", "password", "passfile", "database", "ssl", "direct_tls", "server_settings")
        + ("target_session_attrs", "krbsrvname", "gsslib", "service", "servicefile")
    )
    addresses, read = connect_utils._parse_connect_dsn_and_args(dsn=url, **arguments)
    hosts, ports = zip(*addresses, strict=True)
    return {
        "host": ",".join(hosts),
        "port": ",".join(str(each) for each in ports),
        "user": read.user,
        "password": read.password,
        "dbname": read.database,
        "sslmode": read.sslmode.name.replace("_", "-"),
        "target_session_attrs": read.target_session_attrs.value,
        **(read.server_settings or {}),
    }


def as_libpq(url: str) -> dict[str, Any]:
    """How the migrate step's driver reads a URL."""
    read = psycopg.conninfo.conninfo_to_dict(url)
    return {"port": "5432", "sslmode": "prefer", "target_session_attrs": "any", **read}


@pytest.mark.parametrize(
    "url",
    [
        START,
        "postgres://u:secret@h:6543/db",
        f"{START}?sslmode=require",
        f"{START}?sslmode=require&channel_binding=prefer",
        f"{START}?connect_timeout=10&application_name=a%20b%2Bc",
        f"{START}?application_name=a+b",
        f"{START}?options=-c%20search_path%3Dx",
        f"{START}?target_session_attrs=read-write",
        "postgresql://u:secret@one:5432,two:5433/db?target_session_attrs=primary",
        "postgresql://u:p%40%2F%23%3A%3F%25%2B@h/db",
        "postgresql:///db?host=h&user=u&password=secret&port=5432",
    ],
)
def test_both_drivers_read_the_same(url: str) -> None:
    assert as_asyncpg(normalised(url)) == as_libpq(normalised(url))
    assert normalised(normalised(url)) == normalised(url)


@given(user=st.text(min_size=1), password=st.text(min_size=1), name=st.text(min_size=1))
def test_both_drivers_read_the_same_whatever_is_encoded(user: str, password: str, name: str) -> None:
    if "\0" in user + password + name or any("\ud800" <= each <= "\udfff" for each in user + password + name):
        return
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    url = normalised(f"postgresql://{login}@h:1/{quote(name, safe='')}?application_name={quote(name, safe='')}")
    assert as_asyncpg(url) == as_libpq(url)
    assert as_libpq(url)["password"] == password and as_libpq(url)["application_name"] == name


REFUSED = {
    "mysql://u:secret@h/db": "must start with postgresql://",
    "postgresql://u:sec#ret@h/db": "write it as %23",
    "postgresql://u:sec%ret@h/db": "write it as %25",
    "postgresql://u:sec@ret@h/db": "write them as %40, %2F and %3F",
    "postgresql://u:sec/ret@h/db": "write them as %40, %2F and %3F",
    "postgresql://u:sec?ret@h/db": "write them as %40, %2F and %3F",
    "postgresql://u:secret@h:70000/db": "a port that is not a number from 1 to 65535",
    "postgresql://u:secret@h:/db": "a port that is not a number",
    f"{START}?pgbouncer=true": "'pgbouncer', which not all services understand; they do: application_name, ",
    f"{START}?statement_timeout=10": "'statement_timeout'",
    f"{START}?keepalives_idle=1": "'keepalives_idle'",
    f"{START}?channel_binding=require": "channel_binding=require, which",
    f"{START}?sslmode=on": "sslmode=on; it is one of disable, allow",
    f"{START}?sslmode=": "'sslmode' without a value",
    f"{START}?sslrootcert=system": "name a file",
    f"{START}?target_session_attrs=master": "target_session_attrs=master; it is one of any",
}


@pytest.mark.parametrize("url", REFUSED)
def test_what_they_read_differently_is_refused_by_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", url)
    with pytest.raises(ConfigurationError) as told:
        load_settings(DatabaseSettings)
    assert str(told.value).startswith("DATABASE_URL: ") and REFUSED[url] in str(told.value)
    assert "sec" not in str(told.value)
