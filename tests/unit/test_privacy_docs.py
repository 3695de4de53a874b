"""What docs/PRIVACY.md shows works as it says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import orjson
import pytest

from gateway.core.redaction import load_redaction
from gateway.core.stored_input import DIGEST, stored_input

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "PRIVACY.md").read_text(encoding="utf-8")


async def test_the_redaction_it_shows_masks_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    name = re.search(r"`REDACTION=(\w+:\w+)`", TEXT)
    assert name
    (tmp_path / "redaction.py").write_text(code, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    redaction = load_redaction(name[1], "input", 60)
    assert redaction is not None
    assert await redaction.redacted(["write to ann@example.org, or b.b+c@x-y.co.uk!", "hello @ all"]) == [
        "write to [address], or [address]!",
        "hello @ all",
    ]


def test_the_command_it_shows_makes_the_digest_that_is_kept(tmp_path: Path) -> None:
    (command,) = re.findall(r"^\$ (printf .*openssl.*)$", TEXT, re.MULTILINE)
    (tmp_path / "secret").write_text("s" * 40, encoding="utf-8")
    shown = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    kept = orjson.loads(stored_input("digest", "This is great!", b"{}", None, b"s" * 40))
    assert shown.split()[-1] == kept[DIGEST]
