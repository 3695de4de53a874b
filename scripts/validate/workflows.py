"""Checks of the GitHub workflow and of the shell scripts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from scripts.tools.kit import find
from scripts.validate.check import FIXTURES, Check, command, files, output

BAD = FIXTURES / "workflows"
WORKFLOWS = files(".github/workflows/*.yml")
DEPENDABOT = files(".github/dependabot.yml")


def actionlint(paths: Sequence[Path]) -> None:
    """Check workflows, and with shellcheck the commands in them."""
    output("actionlint", "-no-color", f"-shellcheck={find('shellcheck')}", "-pyflakes=", *map(str, paths))


CHECKS = (
    Check(
        "workflows (actionlint, shellcheck)",
        {"actionlint": "", "shellcheck": ""},
        WORKFLOWS,
        {BAD / "unknown_job.yml": "tests", BAD / "unquoted.yml": "SC2086"},
        actionlint,
    ),
    Check(
        "workflows (zizmor)",
        {"zizmor": ""},
        (*WORKFLOWS, *DEPENDABOT),
        {BAD / "injection.yml": "template-injection", BAD / "unpinned.yml": "unpinned-uses"},
        command("zizmor", "--offline", "--persona=pedantic", "--strict-collection", "--quiet", "--no-progress"),
    ),
    Check(
        "workflows (GitHub's schema)",
        {"check-jsonschema": ""},
        WORKFLOWS,
        {BAD / "unknown_key.yml": "stepps"},
        command("check-jsonschema", "--builtin-schema=vendor.github-workflows"),
    ),
    Check(
        "dependabot.yml (GitHub's schema)",
        {"check-jsonschema": ""},
        DEPENDABOT,
        {BAD / "dependabot.yml": "hourly"},
        command("check-jsonschema", "--builtin-schema=vendor.dependabot"),
    ),
    Check(
        "shell scripts (shellcheck)",
        {"shellcheck": ""},
        files("scripts/**/*.sh", ".github/**/*.sh", ".ci/run"),
        {FIXTURES / "shell" / "unquoted.sh": "SC2086"},
        command("shellcheck", "--external-sources", "--enable=check-unassigned-uppercase,deprecate-which"),
    ),
)
