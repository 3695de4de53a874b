"""What is kept of an input: decided once, and a digest only under a secret."""

from __future__ import annotations

import hashlib
import hmac

import orjson
import pytest

from gateway.core.stored_input import AS_IT_IS, DIGEST, check_secret, stored_input
from gateway.settings import GatewaySettings
from shared.contract.catalogue import Catalogue, parse_catalogue
from shared.contract.errors import ConfigurationError
from shared.service.settings import load_settings

SECRET, OTHER = b"s" * 32, b"t" * 32
OPTIONS = b'{"labels":["a","b"]}'


def digest(text: str, secret: bytes) -> str:
    return str(orjson.loads(stored_input("digest", text, OPTIONS, None, secret))[DIGEST])


def test_a_whole_input_stays_as_it_is() -> None:
    assert stored_input("whole", "hello", OPTIONS, None, b"") == AS_IT_IS
    assert stored_input("whole", "hello", OPTIONS, "hello", b"") == AS_IT_IS


def test_what_was_redacted_is_kept_with_the_options() -> None:
    kept = stored_input("whole", "I am Ann", OPTIONS, "I am [name]", b"")
    assert orjson.loads(kept) == {"text": "I am [name]", "options": {"labels": ["a", "b"]}}


@pytest.mark.parametrize("redacted", [None, "[name]"])
def test_of_none_nothing_is_kept(redacted: str | None) -> None:
    assert stored_input("none", "I am Ann", OPTIONS, redacted, SECRET) == b"{}"


def test_a_digest_is_what_anybody_with_the_secret_can_make() -> None:
    assert digest("Grüße", SECRET) == hmac.new(SECRET, "Grüße".encode(), hashlib.sha256).hexdigest()


def test_digests_are_equal_for_equal_texts_and_differ_between_texts_and_secrets() -> None:
    assert digest("hello", SECRET) == digest("hello", SECRET)
    assert len({digest("hello", SECRET), digest("hello ", SECRET), digest("hello", OTHER)}) == 3


def catalogue(of_model: str, of_version: str = "") -> Catalogue:
    model = '[[models]]\nname = "m"\ntask = "text-classification"\ndescription = "d"\n'
    version = '[[models.versions]]\nversion = "1"\nartifact = "a"\ndefault = true\n'
    return parse_catalogue(f"{model}{of_model}\n{version}{of_version}")


@pytest.mark.parametrize(
    ("of_model", "of_version", "kept"),
    [
        ("", "", "whole"),
        ('store_input = "none"', "", "none"),
        ('store_input = "none"', 'store_input = "digest"', "digest"),
        ('store_input = "none"', 'store_input = "whole"', "whole"),
    ],
)
def test_a_version_wins_over_its_model(of_model: str, of_version: str, kept: str) -> None:
    (served,) = catalogue(of_model, of_version).served()
    assert served.store_input == kept


def test_digests_without_a_secret_are_refused_in_words() -> None:
    check_secret(catalogue('store_input = "none"').served(), b"")
    wanting = catalogue('store_input = "digest"').served()
    check_secret(wanting, SECRET)
    with pytest.raises(ConfigurationError, match='"digest" for m:1.*set INPUT_DIGEST_SECRET_FILE'):
        check_secret(wanting, b"")


def test_a_secret_that_can_be_guessed_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INPUT_DIGEST_SECRET", "hunter2")
    with pytest.raises(ConfigurationError, match="INPUT_DIGEST_SECRET: .*at least 32") as refused:
        load_settings(GatewaySettings)
    assert "hunter2" not in str(refused.value)
