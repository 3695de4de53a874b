"""Certificates for tests: an authority made for the occasion, and one for a server on loopback."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = shutil.which("openssl")


@dataclass(frozen=True)
class Certificates:
    """Files: the authority that clients trust, the server's certificate and key, an authority that signed nothing."""

    authority: Path
    certificate: Path
    key: Path
    stranger: Path


def can_be_made() -> bool:
    """Whether the program that makes them is here."""
    return _PROGRAM is not None


def make(folder: Path) -> Certificates:
    """Make them, for a day."""
    authority, authority_key = _authority(folder, "authority")
    stranger, _ = _authority(folder, "stranger")
    key, request, certificate = (folder / f"server.{kind}" for kind in ("key", "csr", "crt"))
    _openssl("req", "-new", *_KEY, f"-keyout={key}", f"-out={request}", "-subj=/CN=127.0.0.1")
    names = folder / "names"
    names.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n", encoding="utf-8")
    signing = (f"-CA={authority}", f"-CAkey={authority_key}", "-CAcreateserial", f"-extfile={names}", "-days=1")
    _openssl("x509", "-req", f"-in={request}", f"-out={certificate}", *signing)
    key.chmod(0o600)
    return Certificates(authority, certificate, key, stranger)


_KEY = ("-newkey=ec", "-pkeyopt=ec_paramgen_curve:prime256v1", "-nodes")


def _authority(folder: Path, name: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    _openssl("req", "-x509", *_KEY, f"-keyout={key}", f"-out={certificate}", f"-subj=/CN={name}", "-days=1")
    return certificate, key


def _openssl(command: str, *options: str) -> None:
    assert _PROGRAM is not None
    words = [word for option in options for word in option.split("=", 1)]
    subprocess.run([_PROGRAM, command, *words], check=True, capture_output=True)
