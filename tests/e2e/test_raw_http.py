"""What clients do on a connection beside asking nicely: no HTTP at all, half of it, more than is wanted."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path
from urllib.request import urlopen

import psycopg
import pytest

from scripts.stack.postgres import PostgresServer
from scripts.stack.redis import RedisServer
from shared.contract.keys import Keys
from tests.conftest import FIXTURES, cloned_database
from tests.e2e.conftest import Start, services
from tests.e2e.raw_http import answered, connected, get, goes_on_sending, post, until_closed
from tests.processes import Service, wait_until

ECHO = b'{"model": "echo", "text": "nobody serves it"}'
PREDICT = "/api/v1/predict?wait=0"
LIVEZ = get("/livez")


@pytest.fixture(scope="module")
def gateway(
    redis_server: RedisServer, postgres_server: PostgresServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One gateway for all of these."""
    with cloned_database(postgres_server) as database_url:
        environment = {
            "REDIS_URL": redis_server.url,
            "DATABASE_URL": database_url,
            "KEY_PREFIX": Keys("raw-http:").prefix,
            "MODEL_CATALOGUE": str(FIXTURES / "models.toml"),
            "ACCEPT_ENCODED_BODIES": "true",
        }
        with services(environment, tmp_path_factory.mktemp("raw"), traced=True) as start:
            yield start("gateway")


MALFORMED = {
    "no http": b"hello\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 100,
    "an unknown method": b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a lower-case method": b"get /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version from tomorrow": b"GET /livez HTTP/9.9\r\nHost: x\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a space in the path": b"GET /li vez HTTP/1.1\r\nHost: x\r\n\r\n",
    "a control character in the path": b"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n",
    "no target": b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    "a broken absolute target": b"GET http://[::1 HTTP/1.1\r\nHost: x\r\n\r\n",
    "a target that is no path": b"GET livez HTTP/1.1\r\nHost: x\r\n\r\n",
    "no host": b"GET /livez HTTP/1.1\r\n\r\n",
    "two hosts": b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    "a space before the colon": b"GET /livez HTTP/1.1\r\nHost : x\r\n\r\n",
    "a space in a name": b"GET /livez HTTP/1.1\r\nHost: x\r\nX Y: 1\r\n\r\n",
    "a header without a colon": b"GET /livez HTTP/1.1\r\nHost: x\r\nnothing\r\n\r\n",
    "a folded header": b"GET /livez HTTP/1.1\r\nHost: x\r\nX: 1\r\n 2\r\n\r\n",
    "a nul in a header": b"GET /livez HTTP/1.1\r\nHost: x\r\nX: \0\r\n\r\n",
    "a long line": b"GET /" + b"x" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": b"GET /livez HTTP/1.1\r\nHost: x\r\nX: " + b"x" * 9000 + b"\r\n\r\n",
    "many headers": b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"X: 1\r\n" * 500 + b"\r\n",
}
SMUGGLED = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /api/v1/predict?wait=0 HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
SMUGGLING = {
    "length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 0\r\nContent-Length: 50\r\n\r\n",
    "the same length twice": b"Content-Length: 0\r\nContent-Length: 0\r\n\r\n",
    "a list of lengths": b"Content-Length: 0, 50\r\n\r\n",
    "a negative length": b"Content-Length: -1\r\n\r\n",
    "a length with a plus": b"Content-Length: +0\r\n\r\n",
    "a length beyond all": b"Content-Length: 99999999999999999999999\r\n\r\n",
    "a space before the colon": b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a vertical tab": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked is not last": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
    "no such encoding": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a bad size of a chunk": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than its size": b"Transfer-Encoding: chunked\r\n\r\n1\r\nhello\r\n0\r\n\r\n",
    "a line that ends early": b"Content-Length: 0\nX: 1\r\n\r\n",
}


def problem(answer: bytes) -> dict[str, object]:
    """The one problem that came back."""
    head, _, body = answer.partition(b"\r\n\r\n")
    assert answer.count(b"HTTP/1.") == 1, answer
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 ")), answer
    assert b"\r\nContent-Type: application/problem+json" in head and b"\r\nX-Content-Type-Options: nosniff" in head
    assert b"\r\nServer: millstream" in head and b"ython" not in answer and b"aiohttp" not in answer
    found: dict[str, object] = json.loads(body)
    assert found["status"] == 400 and found["detail"]
    return found


def malformed(gateway: Service) -> list[str]:
    """The lines about what was no HTTP."""
    return [each for each in gateway.log.read_text().splitlines() if "malformed request" in each]


@pytest.mark.parametrize("name", MALFORMED)
def test_what_is_no_http_is_a_problem_like_any_other(gateway: Service, name: str) -> None:
    before = len(malformed(gateway))
    found = problem(answered(gateway, MALFORMED[name]))
    assert found["type"] == "urn:millstream:problem:malformed-request"
    wait_until(lambda: len(malformed(gateway)) > before, "it is logged")
    assert len(malformed(gateway)) == before + 1 and "xxx" not in malformed(gateway)[-1]
    assert "Traceback" not in gateway.log.read_text()


@pytest.mark.parametrize("name", SMUGGLING)
def test_of_what_is_framed_twice_only_one_request_is_answered(gateway: Service, name: str) -> None:
    problem(answered(gateway, POST + SMUGGLING[name] + SMUGGLED))


def test_an_unknown_expectation_is_a_problem_too(gateway: Service) -> None:
    answer = answered(gateway, post(PREDICT, ECHO, b"Expect: wonders", b"Connection: close"))
    assert answer.startswith(b"HTTP/1.1 417 ") and b"application/problem+json" in answer and b"aiohttp" not in answer


def test_malformed_requests_are_counted(gateway: Service) -> None:
    problem(answered(gateway, b"hello\r\n\r\n"))
    assert b'millstream_errors_total{component="gateway",kind="malformed_request"}' in scraped(gateway)


REFUSED = {
    413: post(PREDICT, b"")[:-4].replace(b"Content-Length: 0", b"Content-Length: 4000000000"),
    415: b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000000" % PREDICT.encode(),
    421: b"POST %s HTTP/1.1\r\nHost: evil.example\r\nContent-Length: 4000000000" % PREDICT.encode(),
    403: b"POST %s HTTP/1.1\r\nHost: x\r\nSec-Fetch-Site: cross-site\r\nTransfer-Encoding: chunked" % PREDICT.encode(),
    404: b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000000",
    405: b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000000",
    200: b"GET /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 4000000000",
}
BLANKS = b" " * 1_000_000
CHUNK = b"f4240\r\n" + BLANKS + b"\r\n"


@pytest.mark.parametrize("status", REFUSED)
def test_who_is_refused_sends_no_more(gateway: Service, status: int) -> None:
    with connected(gateway) as connection:
        connection.sendall(REFUSED[status] + b"\r\n\r\n")
        chunk = CHUNK if b"chunked" in REFUSED[status] else BLANKS
        sent = goes_on_sending(connection, chunk, most_bytes=500_000_000, most_s=20)
        assert sent < 50_000_000, "what the sockets hold, and a little"
        answer = until_closed(connection)
        assert answer.startswith(b"HTTP/1.1 %d " % status) and b"\r\nConnection: close" in answer, answer


def test_a_body_that_is_said_to_be_too_long_is_not_waited_for(gateway: Service) -> None:
    with connected(gateway) as connection:
        connection.sendall(REFUSED[413] + b"\r\n\r\n")
        connection.settimeout(15)  # BODY_TIMEOUT_S is 30
        assert connection.recv(65_536).startswith(b"HTTP/1.1 413 ")


def test_who_is_refused_and_sends_slowly_is_closed_soon(gateway: Service) -> None:
    with connected(gateway) as connection:
        connection.sendall(REFUSED[404] + b"\r\n\r\n")
        began = time.monotonic()
        assert until_closed(connection).startswith(b"HTTP/1.1 404 ")
        assert time.monotonic() - began < 8


def test_a_gzip_bomb_is_not_unpacked(gateway: Service) -> None:
    before = cpu_s(gateway)
    with connected(gateway) as connection:
        connection.sendall(REFUSED[413] + b"\r\nContent-Encoding: gzip\r\n\r\n")
        goes_on_sending(connection, b"\0" * 1_000_000, most_bytes=500_000_000, most_s=20)
    assert cpu_s(gateway) - before < 2


def cpu_s(service: Service) -> float:
    """CPU seconds that it has used."""
    fields = Path(f"/proc/{service.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("wait", ["0", "1"])
def test_who_ends_its_side_still_gets_the_answer(gateway: Service, wait: str) -> None:
    answer = answered(gateway, post(f"/api/v1/predict?wait={wait}", ECHO), ends=True)
    assert answer.startswith(b"HTTP/1.1 202 ") and b"\r\nConnection: close" in answer and b"queued" in answer


def test_who_ends_its_side_may_wait_long(gateway: Service) -> None:
    with connected(gateway) as connection:
        connection.sendall(post("/api/v1/predict?wait=9", ECHO))
        connection.shutdown(socket.SHUT_WR)
        answer = HTTPResponse(connection, method="POST")
        answer.begin()
        assert (answer.status, json.loads(answer.read())["status"]) == (202, "queued")


def test_who_is_gone_is_not_waited_for(gateway: Service) -> None:
    with connected(gateway) as connection:
        connection.sendall(post("/api/v1/predict?wait=60", ECHO))
        wait_until(lambda: b"in_flight 1" in scraped(gateway), "it waits")
    wait_until(lambda: b"in_flight 0" in scraped(gateway), "it does not wait any more", timeout_s=30)


@pytest.mark.parametrize("count", [2, 31, 100])
def test_who_ends_its_side_gets_all_answers(gateway: Service, count: int) -> None:
    slow = post("/api/v1/predict?wait=1", ECHO)
    answer = answered(gateway, slow + LIVEZ * (count - 2) + get("/docs"), ends=True)
    assert answer.count(b"HTTP/1.1 202 ") == 1 and answer.count(b"HTTP/1.1 200 ") == count - 1
    assert answer.count(b"Connection: close") == 1 and answer.endswith(b"</html>\n")


@pytest.mark.parametrize(
    "sent",
    [
        post(PREDICT, ECHO)[:-5],
        POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
        POST + b"Content-Length: 1500000\r\n\r\n" + BLANKS,
    ],
    ids=["length", "chunked", "large"],
)
def test_who_ends_its_side_within_a_body_is_told(gateway: Service, sent: bytes) -> None:
    began = time.monotonic()
    assert problem(answered(gateway, sent, ends=True))["type"] == "urn:millstream:problem:malformed-body"
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("sent", [b"", b"GET /livez HTTP/1.1\r\nHo"], ids=["nothing", "half a header"])
def test_who_ends_its_side_without_a_request_is_closed(gateway: Service, sent: bytes) -> None:
    began = time.monotonic()
    assert answered(gateway, sent, ends=True) == b""
    assert time.monotonic() - began < 8


def test_headers_that_dribble_on_a_kept_connection_are_closed(gateway: Service) -> None:
    with connected(gateway) as connection:
        connection.sendall(LIVEZ)
        assert connection.recv(4000).startswith(b"HTTP/1.1 200 ")
        began, closed_after_s = time.monotonic(), 0.0
        for byte in LIVEZ[:-1]:
            try:
                connection.send(bytes([byte]))
                connection.settimeout(1)
                if not connection.recv(1):
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        closed_after_s = time.monotonic() - began
        assert 9 < closed_after_s < 20


def test_a_kept_connection_is_closed_after_a_while_and_a_request_that_has_arrived_is_answered(start: Start) -> None:
    gateway = start("gateway", KEEPALIVE_S="3")
    with ExitStack() as stack:
        idle, busy = (stack.enter_context(connected(gateway)) for _ in range(2))
        for each in (idle, busy):
            each.sendall(LIVEZ)
            assert each.recv(4000).startswith(b"HTTP/1.1 200 ")
        gateway.pause()
        busy.sendall(LIVEZ)
        time.sleep(3.5)  # both are over their time now
        gateway.resume()
        assert busy.recv(4000).startswith(b"HTTP/1.1 200 ")
        assert until_closed(idle) == b"" and until_closed(busy) == b""


HISTORY = get("/api/v1/predictions?limit=30")


def store_large_rows(database_url: str) -> None:
    """50 predictions whose results have 200 kB each."""
    with psycopg.connect(database_url) as connection:
        connection.execute(
            "INSERT INTO predictions (id, model_version_id, input_data, output_data, confidence, created_at, status,"
            " completed_at) SELECT lpad(to_hex(n), 32, '0')::uuid, 1, '{}',"
            " jsonb_build_object('label', repeat('x', 200000)), 0.5, now(), 'succeeded', now()"
            " FROM generate_series(1, 50) n"
        )


def has_answers(connection: socket.socket) -> bool:
    """Whether an answer has begun to arrive."""
    try:
        return connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) != b""
    except BlockingIOError:
        return False


def test_answers_that_nobody_reads_are_bounded_and_make_room_in_time(
    start: Start, postgres_server: PostgresServer, database_url: str
) -> None:
    store_large_rows(database_url)
    gateway = start("gateway")
    with ExitStack() as stack:
        slow = [stack.enter_context(connected(gateway)) for _ in range(40)]  # 240 MB of answers
        for each in slow:
            each.sendall(HISTORY)
        wait_until(lambda: all(map(has_answers, slow)), "all are answered")
        assert highest_mb(gateway) < 400
        begun = {each.recv(12, socket.MSG_PEEK) for each in slow}
        assert begun == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        wait_until(lambda: answered(gateway, CLOSING_HISTORY).startswith(b"HTTP/1.1 200 "), "there is room again")


CLOSING_HISTORY = get("/api/v1/predictions?limit=30", b"Connection: close")


def test_a_stop_does_not_wait_for_who_does_not_read_or_goes_on_sending(
    start: Start, postgres_server: PostgresServer, database_url: str
) -> None:
    store_large_rows(database_url)
    gateway = start("gateway", SHUTDOWN_GRACE_S="10", DRAIN_DELAY_S="0.5")
    with ExitStack() as stack:
        unread = [stack.enter_context(connected(gateway)) for _ in range(20)]
        for each in unread:
            each.sendall(HISTORY)
        wait_until(lambda: all(map(has_answers, unread)), "all are answered")
        for sent in (POST + b"Content-Length: 100\r\n\r\n{", b"GET /"):
            for _ in range(20):
                stack.enter_context(connected(gateway)).sendall(sent)
        began = time.monotonic()
        assert gateway.stop(timeout_s=20) == 0
        assert time.monotonic() - began < 10


def test_a_body_that_is_arriving_at_a_stop_is_answered(start: Start) -> None:
    gateway = start("gateway", DRAIN_DELAY_S="0")
    request = post("/api/v1/predict", ECHO)
    with connected(gateway) as connection:
        connection.sendall(request[:-5])
        wait_until(lambda: b"in_flight 1" in scraped(gateway), "its headers have arrived")
        gateway.process.terminate()
        wait_until(lambda: not listens(gateway), "it listens no more")
        connection.sendall(request[-5:] + LIVEZ)
        answer = until_closed(connection)
    assert answer.startswith(b"HTTP/1.1 503 ") and b"\r\nRetry-After: " in answer and b"stopping" in answer
    assert gateway.stop() == 0


def scraped(gateway: Service) -> bytes:
    """Its metrics."""
    with urlopen(f"{gateway.metrics_url}/metrics", timeout=30) as answer:
        found: bytes = answer.read()
    return found


def listens(gateway: Service) -> bool:
    """Whether it takes connections."""
    try:
        with connected(gateway):
            return True
    except ConnectionRefusedError:
        return False


def highest_mb(service: Service) -> float:
    """The most megabytes that it has had in memory."""
    status = Path(f"/proc/{service.process.pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) / 1000


@pytest.mark.parametrize("query", ["%ED%A0%80=1", "%ff%00=%fe", "wait=%ED%A0%80", "a" * 7000])
def test_a_query_that_is_no_text_is_told(gateway: Service, query: str) -> None:
    answer = answered(gateway, get(f"/api/v1/predictions?{query}", b"Connection: close"))
    assert answer.startswith(b"HTTP/1.1 422 ") and b"application/problem+json" in answer and len(answer) < 3000
