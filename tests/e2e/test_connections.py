"""Connections that say nothing, or too many of them, take nothing from those that ask."""

from __future__ import annotations

import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.request import urlopen

import pytest

from tests.e2e.conftest import Start
from tests.processes import Service, wait_until

MOST = 20
ASK = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b'{"model": "echo", "text": "nobody serves it"}'
WAIT = (
    b"POST /api/v1/predict?wait=60 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
)


def connected(gateway: Service, stack: ExitStack, sends: bytes = b"") -> socket.socket:
    """A connection that is open until the end of the test."""
    made = socket.create_connection(("127.0.0.1", int(gateway.url.rsplit(":", 1)[1])), timeout=15)
    stack.callback(made.close)
    made.sendall(sends)
    return made


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side has closed it."""
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def waiting(gateway: Service) -> float:
    """Requests that the gateway is answering."""
    with urlopen(f"{gateway.metrics_url}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(each.split()[-1] for each in lines if each.startswith("millstream_http_requests_in_flight ")))


@contextmanager
def many(gateway: Service, count: int, sends: bytes = b"") -> Iterator[list[socket.socket]]:
    """So many connections."""
    with ExitStack() as stack:
        yield [connected(gateway, stack, sends) for _ in range(count)]


def test_a_full_house_closes_who_says_nothing_and_refuses_only_if_all_are_busy(start: Start) -> None:
    gateway = start("gateway", MAX_CONNECTIONS=str(MOST))
    with many(gateway, MOST * 3) as silent, ExitStack() as stack:
        asks = connected(gateway, stack, ASK)
        assert asks.recv(1000).startswith(b"HTTP/1.1 200 ")
        wait_until(lambda: sum(not is_closed(each) for each in silent) < MOST, "the oldest were closed")
        assert not is_closed(silent[-1]), "the newest were not"
    with many(gateway, MOST, WAIT) as busy, ExitStack() as stack:
        wait_until(lambda: waiting(gateway) == MOST, "all have a request in hand")
        refused = connected(gateway, stack, ASK).recv(4000)
        assert refused.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: 2\r\n" in refused
        assert b"as many connections as it may have, 20" in refused
        assert not any(is_closed(each) for each in busy)
        with urlopen(f"{gateway.metrics_url}/readyz", timeout=5) as answer:  # probes keep a way in
            assert answer.status == 200
        with urlopen(f"{gateway.metrics_url}/metrics", timeout=5) as answer:
            assert 'millstream_errors_total{component="gateway",kind="refused_connection"} ' in answer.read().decode()
    wait_until(lambda: gateway.ready, "there is room again")
    gateway.stop()  # so that its log is whole
    assert gateway.log.read_text().count("too many connections") == 1, "told once in ten seconds"


@pytest.mark.parametrize("sends", [b"", b"GET /livez HTTP/1.1\r\nX-Slow: "], ids=["nothing", "half a header"])
def test_who_sends_no_headers_is_closed(start: Start, sends: bytes) -> None:
    gateway = start("gateway")
    with many(gateway, 3, sends) as slow:
        began = time.monotonic()
        assert not any(is_closed(each) for each in slow)
        wait_until(lambda: all(is_closed(each) for each in slow), "they are closed")
        assert 9 < time.monotonic() - began < 14


def test_a_gateway_on_the_double_colon_is_reached_by_both_families(start: Start) -> None:
    gateway = start("gateway", GATEWAY_HOST="::", ADMIN_HOST="::", AUTH_OFF_IS_INTENDED="true")
    for url in (gateway.url, gateway.metrics_url):
        for address in ("127.0.0.1", "[::1]"):
            with urlopen(f"{url.replace('127.0.0.1', address)}/readyz", timeout=5) as answer:
                assert answer.status == 200


def test_a_gateway_that_may_open_few_files_keeps_to_them(start: Start) -> None:
    gateway = start("gateway", MAX_CONNECTIONS="1000000")
    assert gateway.ready
    gateway.stop()
    assert ("fewer connections than set" in gateway.log.read_text()) is (_hard_limit() < 1_000_200)


def _hard_limit() -> float:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return float("inf") if hard == resource.RLIM_INFINITY else hard
