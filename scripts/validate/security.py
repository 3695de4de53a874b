"""Checks for unsafe code and for secrets, in the files as they are and in git's history."""

from __future__ import annotations

import secrets
import shutil
import string
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from scripts.tools.kit import ROOT
from scripts.validate.check import FIXTURES, Check, command, output

GIT = {"git": "Debian: apt install git"}
CODE = ("client", "gateway", "inference_worker", "persister", "shared", "migrations", "models", "monitoring", "scripts")
# git refuses repositories of other users, which a mounted one is.
ANY_OWNER = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
GITLEAKS = ("--no-banner", "--no-color", "--redact", "--verbose", f"--config={ROOT / '.gitleaks.toml'}")


def secrets_in_files(paths: Sequence[Path]) -> None:
    """Look through all files that git does not ignore: .env, .venv and the like are no part of it."""
    with TemporaryDirectory(prefix="millstream-") as folder:
        empty, copies = Path(folder) / "empty.git", Path(folder) / "files"
        copies.mkdir()
        output("git", "init", "--quiet", "--bare", str(empty))
        for path in paths:
            listed = ("ls-files", "-z", "--others", "--exclude-standard")
            names = output("git", f"--git-dir={empty}", f"--work-tree={path}", *listed, cwd=path)
            for name in filter(None, names.split("\0")):
                if (path / name).is_file():
                    (copies / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path / name, copies / name)
        output("gitleaks", "dir", *GITLEAKS, ".", cwd=copies)


def secrets_in_history(paths: Sequence[Path]) -> None:
    """Look through every commit of repositories; what was unpacked from an archive has none."""
    for path in paths:
        if (path / ".git").exists():
            output("gitleaks", "git", *GITLEAKS, ".", cwd=path, environment=ANY_OWNER)


def leaked(folder: Path) -> dict[Path, str]:
    """A repository with a file that holds a key. It is made at run time: in this one it would be found."""
    key = "".join(secrets.choice(string.ascii_uppercase + "234567") for _ in range(16))
    output("git", "init", "--quiet", cwd=folder)
    (folder / "settings.ini").write_text(f"aws_access_key_id = AKIA{key}\n", encoding="utf-8")
    return {folder: "aws-access-token"}


def leaked_once(folder: Path) -> dict[Path, str]:
    """A repository whose files no longer hold the key that a former commit has."""
    leaked(folder)
    author = ("-c", "user.name=Nobody", "-c", "user.email=nobody@example.org", "-c", "commit.gpgsign=false")
    output("git", "add", "settings.ini", cwd=folder)
    output("git", *author, "commit", "--quiet", "--message=add", cwd=folder)
    output("git", "rm", "--quiet", "settings.ini", cwd=folder)
    output("git", *author, "commit", "--quiet", "--message=remove", cwd=folder)
    return {folder: "aws-access-token"}


CHECKS = (
    Check(
        "code (bandit)",
        {"bandit": ""},
        tuple(ROOT / name for name in CODE),
        {FIXTURES / "security": "B602"},
        command("bandit", "--quiet", "-ll", f"--configfile={ROOT / 'pyproject.toml'}", "--recursive"),
    ),
    Check("secrets in files (gitleaks)", {"gitleaks": ""} | GIT, (ROOT,), {}, secrets_in_files, leaked),
    Check("secrets in history (gitleaks)", {"gitleaks": ""} | GIT, (ROOT,), {}, secrets_in_history, leaked_once),
)
