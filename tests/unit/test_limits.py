"""The arithmetic of callers' limits, what their file may say, and the headers that tell of them."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.control.profiles import Profiles, load_profiles
from gateway.control.reads import MOST_CALLERS, Reads
from gateway.core.caller_limits import refusal, standing_of
from gateway.core.errors import LimitReached
from gateway.core.principal import ANYBODY, Principal
from gateway.http.rate_limits import rate_limit_headers
from inference_worker.cost_meter import CostMeter
from inference_worker.outcomes import shares_us
from shared.contract.costs import Cost, decode_costs, encode_costs
from shared.contract.errors import ConfigurationError
from shared.contract.limits import CallerLimits, Rate, Used
from shared.streams.publishing import Verdict

RATE = Rate(60, 60)


def test_a_rate_that_is_full_has_its_quota_left_and_one_that_is_used_up_gives_it_back_evenly() -> None:
    assert [RATE.left(each) for each in (-5, 0, 1, 1000, 59_000, 59_001, 60_000, 99_000)] == [
        60,
        60,
        59,
        59,
        1,
        0,
        0,
        0,
    ]
    assert RATE.wait_ms(60_000, 1) == 1000
    assert RATE.wait_ms(30_000, 30) == 0
    assert RATE.wait_ms(30_000, 31) == 1000
    assert RATE.wait_ms(0, 61) == math.inf


@given(st.floats(0.1, 1e6), st.floats(0.1, 1e5), st.floats(0, 1e8))
@example(1.9999999998835847, 1.0, 0.0)
def test_what_is_left_may_be_used_at_once_and_one_more_may_not(quota: float, window_s: float, full_ms: float) -> None:
    rate = Rate(quota, window_s)
    left = rate.left(full_ms)
    assert rate.wait_ms(full_ms, left) <= 1e-3 * rate.interval_ms or not left
    assert rate.wait_ms(full_ms, left + 1) > 0


def test_reads_are_counted_by_caller_and_come_back() -> None:
    now = 100.0
    reads = Reads(lambda: now)
    rate = Rate(2, 10)
    for _ in range(2):
        reads.count("ann", rate)
    reads.count("bob", rate)
    for _ in range(2):  # what is refused is not counted
        with pytest.raises(LimitReached) as refused:
            reads.count("ann", rate)
        assert refused.value.retry_after_s == 5
    now += 5
    reads.count("ann", rate)


def test_of_so_many_callers_the_ones_that_read_long_ago_are_forgotten() -> None:
    reads = Reads(lambda: 0.0)
    for number in range(MOST_CALLERS + 5):
        reads.count(f"caller {number}", Rate(1, 10))
    assert len(reads._full_at) == MOST_CALLERS
    reads.count("caller 0", Rate(1, 10))
    with pytest.raises(LimitReached):
        reads.count(f"caller {MOST_CALLERS + 4}", Rate(1, 10))


FILE = """
[profiles.default]
requests = {quota = 600, window_s = 60}
waits = 3
[profiles.gold]
queued = 5
reads = {quota = 1, window_s = 1}
[weights]
slow = 10
[principals]
p_ann = "gold"
"""


def profiles(tmp_path: Path, text: str = FILE) -> Profiles:
    path = tmp_path / "limits.toml"
    path.write_text(text)
    return load_profiles(path)


def caller(name: str, profile: str = "") -> Principal:
    return Principal(name, frozenset(), profile=profile)


def test_a_caller_has_the_profile_of_the_file_then_that_of_its_credentials_then_the_default(tmp_path: Path) -> None:
    found = profiles(tmp_path)
    default = CallerLimits(requests=Rate(600, 60), waits=3)
    assert found.limits(caller("p_bob"), "m") == default
    assert found.limits(caller("p_bob"), "slow") == default._replace(weight=10)
    assert found.limits(caller("p_bob", "no such"), "m") == default
    assert found.limits(caller("p_bob", "gold"), "m") == CallerLimits(queued=5)
    assert found.limits(caller("p_ann", "default"), "m") == CallerLimits(queued=5)
    assert (found.reads(caller("p_ann")), found.reads(caller("p_bob"))) == (Rate(1, 1), None)
    assert found.limits(ANYBODY, "m") is None and found.reads(ANYBODY) is None
    assert load_profiles(None).limits(caller("p_ann"), "m") is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[profiles.default]\nrequest = {quota = 1, window_s = 1}", "profiles.default.request: Extra inputs"),
        (
            "[profiles.default]\nrequests = {quota = 0, window_s = 1}",
            "profiles.default.requests.quota: Input should be",
        ),
        ("[profiles.default]\nqueued = 0", "profiles.default.queued: Input should be greater"),
        ('[principals]\np_ann = "gold"', "principals.p_ann: there is no profile 'gold'"),
        ("[weights]\nm = 0", "weights.m: Input should be greater than 0"),
        ("[profiles", "is not TOML"),
    ],
)
def test_what_is_wrong_with_the_file_is_told(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigurationError, match="LIMIT_PROFILES") as error:
        profiles(tmp_path, text)
    assert told in str(error.value)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        load_profiles(tmp_path / "nothing")


def test_the_example_of_the_documentation_can_be_read(tmp_path: Path) -> None:
    text = Path("docs/LIMITS.md").read_text("utf-8")
    example = text.split("```toml\n")[1].split("```")[0]
    found = profiles(tmp_path, example)
    assert found.limits(caller("p_x"), "sentiment-analysis") is not None


LIMITS = CallerLimits(RATE, Rate(30_000, 60), 10, 1000, weight=2)


@pytest.mark.parametrize(
    ("verdict", "name", "retry_s", "told"),
    [
        (Verdict.CALLER_REQUESTS, "requests", 6, "you may send 60 in 60 s, and this counts as 6; try again in 6 s"),
        (Verdict.CALLER_COMPUTE, "compute", 1, "you may use 30000 in 60 s of computing, in ms, and this may take 500"),
        (Verdict.CALLER_QUEUED, "queued", 2, "you may have 10 requests waiting, and 9 are"),
        (Verdict.CALLER_QUEUED_BYTES, "queued_bytes", 2, "you may have 1000 bytes of inputs waiting, and 900 are"),
    ],
)
def test_a_refusal_names_the_limit_its_value_and_when_to_try_again(
    verdict: Verdict, name: str, retry_s: int, told: str
) -> None:
    error = refusal(verdict, LIMITS, Used(60_000, 59_900, 9, 900), 3, 500_000)
    assert (error.limit, error.retry_after_s) == (name, retry_s)
    assert told in str(error)


def test_what_is_more_than_a_caller_ever_may_is_not_to_be_tried_again() -> None:
    error = refusal(Verdict.CALLER_REQUESTS, LIMITS, Used(0, 0, 0, 0), 31, 0)
    assert error.retry_after_s is None and str(error).endswith("counts as 62; send less at once")
    error = refusal(Verdict.CALLER_QUEUED, LIMITS, Used(0, 0, 0, 0), 11, 0)
    assert error.retry_after_s is None


def test_the_headers_are_as_in_the_draft() -> None:
    assert rate_limit_headers(*standing_of(LIMITS, Used(18_500, 60_000, 4, 1001))) == {
        "RateLimit-Policy": '"requests";q=60;w=60, "compute";q=30000;w=60;qu="milliseconds", '
        '"queued";q=10;qu="concurrent-requests", "queued_bytes";q=1000;qu="content-bytes"',
        "RateLimit": '"requests";r=41;t=19, "compute";r=0;t=1, "queued";r=6, "queued_bytes";r=0',
    }
    assert rate_limit_headers({}, {}) == {}


def test_costs_are_averages_that_follow_and_survive_a_heartbeat() -> None:
    meter = CostMeter()
    meter.learn(1.0, 0, 10)
    assert meter.cost is None
    meter.learn(0.001, 10, 40)
    assert meter.cost == Cost(100, 0.25)
    for _ in range(200):
        meter.learn(0.002, 10, 20)
    assert meter.cost is not None and meter.cost == pytest.approx((200, 0.5), rel=0.01)
    assert decode_costs(encode_costs({"m:1": meter.cost})) == {"m:1": meter.cost}
    for strange in (None, b"", b"[]", b'{"m:1": 3}', b'{"m:1": [-1, 2]}', b'{"m:1": ["a", 2]}', b"\xff"):
        assert decode_costs(strange) == {}


def test_a_pass_is_shared_by_tokens() -> None:
    assert shares_us(0.001, [1, 3]) == [250, 750]
    assert shares_us(0.001, [0, 0]) == [0, 0]
