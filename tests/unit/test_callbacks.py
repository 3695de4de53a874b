"""Where callbacks may go, how long it is waited before another try, and what a secret is."""

from __future__ import annotations

import base64
import time

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from persister.webhook_sender import keys_of, signed
from persister.webhooks import pause_after
from shared.contract.callbacks import hosts_of, is_public, refusal_of_url, shown


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "0.0.0.0", "100.64.0.1", "224.0.0.1"]
    + ["255.255.255.255", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1", "::ffff:8.8.8.8"]
    + ["2002:7f00:1::", "64:ff9b::7f00:1", "64:ff9b:1::1", "2001:db8::1", "x", ""],
)
def test_what_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.216.34", "2606:4700:4700::1111"])
def test_what_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    ("setting", "host", "allowed"),
    [
        ("hooks.example.com", "hooks.example.com", True),
        ("hooks.example.com", "x.hooks.example.com", False),
        (" *.Example.com , b.org", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "evilexample.com", False),
        ("*", "anything.org", True),
        ("", "anything.org", False),
    ],
)
def test_only_hosts_that_are_named(setting: str, host: str, allowed: bool) -> None:
    assert (refusal_of_url(f"https://{host}/x?y=1", hosts_of(setting), private=False) is None) is allowed


@pytest.mark.parametrize(
    "url",
    ["", "https://", "https:///x", "https://a.b:99999/", "https://a.b/#x", "https://a b/", "https://ä.de/", "//a.b/"]
    + ["https://a.b\\@c.d/", "https://[::1/", "https://0x7f.1/", "https://a.0x1/", f"https://a.b/{'x' * 2000}"],
)
def test_what_is_no_url(url: str) -> None:
    assert refusal_of_url(url, ("*",), private=True)


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://a.b", "https://a.b"),
        ("https://a.b:8443/x/y?token=secret&z=1", "https://a.b:8443/x/y?…"),
        ("https://user:secret@a.b/x", "https://a.b/x"),  # which is not accepted, either
    ],
)
def test_what_is_shown_of_a_url(url: str, told: str) -> None:
    assert shown(url) == told


def test_pauses_grow_to_hours_and_are_not_the_same_for_all() -> None:
    assert pause_after(1, 0).total_seconds() == 3.75 and pause_after(1, 1).total_seconds() == 6.25
    assert pause_after(8, 0.5) == pause_after(99, 0.5) and pause_after(8, 0.5).total_seconds() == 14_400


def secret(letter: str) -> str:
    return f"whsec_{base64.b64encode(letter.encode() * 32).decode()}"


@pytest.mark.parametrize("wrong", ["whsec_", "whsec_AAAA", "whsec_!!", "A" * 44, "whsec_" + "A" * 120])
def test_what_is_no_secret(wrong: str) -> None:
    for secrets in (wrong, f"{secret('a')}\n{wrong}"):
        with pytest.raises(ValueError, match="whsec_") as told:
            keys_of(secrets)
        assert wrong not in str(told.value) or wrong == "whsec_"


@pytest.mark.parametrize("letters", ["", "abc"])
def test_there_are_one_or_two_secrets(letters: str) -> None:
    with pytest.raises(ValueError, match=f"one secret, or 2 in lines of their own: has {len(letters)}"):
        keys_of("\n".join(map(secret, letters)))


def test_while_a_secret_is_replaced_who_has_the_new_or_the_old_one_can_verify() -> None:
    headers = signed(keys_of(f"{secret('n')}\r\n{secret('o')}\n"), "m.0", int(time.time()), b'{"type":"x"}')
    for letter in "no":
        assert Webhook(secret(letter)).verify('{"type":"x"}', headers) == {"type": "x"}
    with pytest.raises(WebhookVerificationError):
        Webhook(secret("x")).verify('{"type":"x"}', headers)
    assert len(headers["webhook-signature"].split()) == 2
