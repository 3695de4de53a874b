"""Reading the model catalogue file."""

from __future__ import annotations

from pathlib import Path

from shared.contract.catalogue import Catalogue, parse_catalogue
from shared.contract.errors import ConfigurationError


def load_catalogue(path: Path) -> Catalogue:
    """Read and parse the catalogue file.

    Raises:
        ConfigurationError: the file cannot be read or is not a catalogue.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot read the model catalogue {path}: {error.strerror}") from error
    return parse_catalogue(text, str(path.parent.resolve()))
