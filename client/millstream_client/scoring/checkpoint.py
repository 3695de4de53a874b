"""How far a file is, beside the output: `OUT.progress`. It says how many bytes of the output are good: a line that a
crash has torn, and all that came after the last look, is cut off, and asked for again under the same keys."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from millstream_client.scoring.plan import Plan

FORMAT = 1


@dataclass
class Checkpoint:
    """How far it is.

    Attributes:
        rows: answered and written.
        bad: of them, those that did not succeed.
        bytes: of the output, up to there.
    """

    plan: Plan
    rows: int = 0
    bad: int = 0
    bytes: int = 0

    @property
    def finished(self) -> bool:
        """Whether nothing is left."""
        return self.rows == self.plan.rows


def path_of(out: Path) -> Path:
    """Where it stands."""
    return out.with_name(f"{out.name}.progress")


def load(out: Path) -> Checkpoint | None:
    """How far an output is; None if nothing is known of it.

    Raises:
        ValueError: the file is none of ours.
    """
    path = path_of(out)
    try:
        told = json.loads(path.read_bytes())
        if told.pop("format") != FORMAT:
            raise ValueError("of another version of millstream")
        return Checkpoint(Plan(**told.pop("plan")), **told)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); to start over, delete it and {out}") from None


def save(out: Path, checkpoint: Checkpoint) -> None:
    """Write it, whole or not at all; what it says of the output is on disk before."""
    path = path_of(out)
    fresh = path.with_name(f"{path.name}.new")
    with fresh.open("w", encoding="utf-8") as file:
        json.dump({"format": FORMAT, **asdict(checkpoint)}, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
