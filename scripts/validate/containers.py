"""Checks of the Dockerfile and of compose.yaml."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.stack import dotenv
from scripts.tools.kit import ROOT
from scripts.validate.check import FIXTURES, Check, command, files, output

BAD = FIXTURES / "containers"
# Whatever compose.yaml insists on; a person has these in .env.
SECRETS = dict.fromkeys(dotenv.SECRETS, "none")


def compose(paths: Sequence[Path]) -> None:
    """Have compose read files, with the services of every profile."""
    for path in paths:
        arguments = ("--profile=*", "--env-file=/dev/null", f"--file={path}", "config", "--quiet")
        output("docker-compose", *arguments, environment=SECRETS)


def compose_lint(paths: Sequence[Path]) -> None:
    """Look for unsafe settings. Copies are read: below /root, each relative mount would be one of root's home."""
    options = ("--fail-on=medium", "--strict-config", "--no-pager", "--no-env", "--skip-suppressed")
    for path in paths:
        with TemporaryDirectory(prefix="millstream-") as folder:
            copy = shutil.copy(path, folder)
            output("compose-lint", "check", *options, f"--config={ROOT / '.compose-lint.yml'}", str(copy))


CHECKS = (
    Check(
        "Dockerfiles (hadolint)",
        {"hadolint": ""},
        files("Dockerfile", "scripts/image/models.Dockerfile"),
        {BAD / "Dockerfile": "DL3007"},
        command("hadolint", "--failure-threshold=info"),
    ),
    Check(
        "compose file (compose config)",
        {"docker-compose": ""},
        files("compose.yaml"),
        {BAD / "unknown_key.yaml": "port"},
        compose,
    ),
    Check(
        "compose file (compose-lint)",
        {"compose-lint": ""},
        files("compose.yaml"),
        {BAD / "privileged.yaml": "CL-0002"},
        compose_lint,
    ),
)
