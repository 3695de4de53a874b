"""How long a client waits: the query, then RFC 7240's header, then the default."""

from __future__ import annotations

import math
from urllib.parse import urlencode

import pytest
from aiohttp.test_utils import make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.queries import PredictQuery
from gateway.http.preferences import Wait, wait_of
from gateway.http.problems import ProblemError
from gateway.http.queries import read_query
from gateway.http.timeouts import timeout_ms_of
from gateway.settings import LONGEST_TIMEOUT_S, MAX_WAIT_S, GatewaySettings

SETTINGS = GatewaySettings(auth="off", redis_url="redis://localhost", database_url="postgresql://localhost/x")
PATIENT = SETTINGS.model_copy(update={"max_timeout_s": LONGEST_TIMEOUT_S})


def query(**parameters: str) -> PredictQuery:
    """The parameters of a request, as its handler reads them."""
    encoded = urlencode(parameters, errors="surrogatepass")
    return read_query(make_mocked_request("POST", f"/?{encoded}"), PredictQuery)


@pytest.mark.parametrize(
    ("prefer", "wait"),
    [
        (None, Wait(30)),
        ("respond-async", Wait(0, "respond-async")),
        ("Respond-Async", Wait(0, "respond-async")),
        ("wait=10", Wait(10, "wait=10")),
        (" wait = 10 ", Wait(10, "wait=10")),
        ('wait="10"', Wait(10, "wait=10")),
        ("wait=10; x=1", Wait(10, "wait=10")),
        ("respond-async; x", Wait(0, "respond-async")),
        ("wait=0", Wait(0, "wait=0")),
        ("wait=100000000000000000000", Wait(MAX_WAIT_S, f"wait={MAX_WAIT_S}")),
        ("handling=lenient, wait=5", Wait(5, "wait=5")),
        ("respond-async, wait=10", Wait(10, "wait=10")),
        ("wait=10, respond-async", Wait(10, "wait=10")),
        ("wait=1, wait=2", Wait(1, "wait=1")),
        ("wait=soon, respond-async", Wait(0, "respond-async")),
        ("wait=1.5", Wait(30)),
        ("wait=²", Wait(30)),
        ("wait", Wait(30)),
        ("", Wait(30)),
    ],
)
def test_the_header_is_read_as_rfc_7240_has_it(prefer: str | None, wait: Wait) -> None:
    assert wait_of(None, prefer, 30) == wait


@given(prefer=st.none() | st.text(max_size=60) | st.from_regex(r"\A(wait=[0-9٠-٩]*|respond-async)(,.*)?\Z"))
def test_no_header_is_an_error_or_a_wait_out_of_range(prefer: str | None) -> None:
    wait = wait_of(None, prefer, 30)
    assert 0 <= wait.seconds <= MAX_WAIT_S
    assert wait.applied in ("", "respond-async", f"wait={wait.seconds}")


@given(seconds=st.floats(0, MAX_WAIT_S), prefer=st.sampled_from([None, "respond-async", "wait=7"]))
def test_the_query_beats_the_header(seconds: float, prefer: str | None) -> None:
    assert wait_of(query(wait=str(seconds)).wait, prefer, 30) == Wait(seconds)


@given(text=st.text(max_size=20) | st.floats().map(str) | st.integers().map(str))
def test_a_query_is_a_time_in_range_or_refused(text: str) -> None:
    try:
        seconds = wait_of(query(wait=text).wait, None, 30).seconds
    except ProblemError as error:
        assert error.status == 422 and [list(loc) for loc, _ in error.errors] == [["query", "wait"]]
    else:
        assert 0 <= seconds <= MAX_WAIT_S


@pytest.mark.parametrize("text", ["1_0", " 5", "5 ", "٥", "", "nan", "inf", "0x1"])
def test_what_python_takes_for_a_number_and_json_does_not_is_refused(text: str) -> None:
    with pytest.raises(ProblemError, match="query.wait: must be a number of seconds"):
        query(wait=text)
    with pytest.raises(ProblemError, match="query.timeout: must be a number of seconds"):
        query(timeout=text)


@given(text=st.text(max_size=20) | st.floats().map(str) | st.integers().map(str))
def test_a_timeout_is_at_least_a_millisecond_or_refused(text: str) -> None:
    try:
        timeout_ms = timeout_ms_of(query(timeout=text).timeout, PATIENT)
    except ProblemError as error:
        assert error.status == 422
    else:
        assert 1 <= timeout_ms <= LONGEST_TIMEOUT_S * 1000
        assert math.isclose(timeout_ms, float(text) * 1000, abs_tol=1)


def test_without_a_timeout_the_default_counts() -> None:
    assert timeout_ms_of(query().timeout, PATIENT) == 3_600_000


def test_a_timeout_over_the_limit_is_refused() -> None:
    assert timeout_ms_of(3600, SETTINGS) == 3_600_000
    with pytest.raises(ProblemError, match="query.timeout: must be at most 3600 seconds, not 86400"):
        timeout_ms_of(86_400, SETTINGS)
