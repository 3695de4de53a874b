"""What is measured beside Millstream: a peer that cannot run says why, at once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.load.peers import running


def test_a_peer_that_ends_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "python_of", lambda name: sys.executable)
    with pytest.raises(AssertionError, match=r"(?s)none ended:.*No module named .*with_none"):
        with running.queue("none", "redis://127.0.0.1:1", {}, tmp_path / "log"):
            pass
