"""What the workflows promise of what they push and when they look; their syntax is `make validate`'s."""

from __future__ import annotations

import copy
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.tools.kit import find

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / ".github" / "workflows"
TEXT = {path.stem: path.read_text(encoding="utf-8") for path in sorted(FOLDER.glob("*.yml"))}
WORKFLOWS: dict[str, Any] = {name: yaml.safe_load(text) for name, text in TEXT.items()}
PUBLISH: dict[str, Any] = WORKFLOWS["ci-cd"]["jobs"]["publish"]

Job = dict[str, Any]


def untagged_until_scanned(job: Job) -> Iterator[str]:
    """What is pushed has no tag, is scanned by its digest, and is then kept for its tag."""
    steps = job["steps"]
    pushed, scanned, kept = (
        next((at for at, step in enumerate(steps) if where(step)), -1)
        for where in (
            lambda step: "push=true" in step.get("with", {}).get("outputs", ""),
            lambda step: step.get("with", {}).get("image-ref", "").endswith("@${{ steps.push.outputs.digest }}"),
            lambda step: step.get("env", {}).get("DIGEST") == "${{ steps.push.outputs.digest }}",
        )
    )
    if not 0 <= pushed < scanned < kept:
        yield f"pushed in step {pushed}, scanned in {scanned}, kept in {kept}"
    if "push-by-digest=true" not in steps[pushed]["with"]["outputs"] or "tags" in steps[pushed]["with"]:
        yield "it is pushed by a tag"
    if steps[scanned]["with"].get("exit-code") != "1" or steps[scanned].get("continue-on-error"):
        yield "the scan fails nothing"


def without(step_of: str) -> Job:
    """The job without a step."""
    bad = copy.deepcopy(PUBLISH)
    bad["steps"] = [step for step in bad["steps"] if step_of not in str(step)]
    return bad


def test_only_what_was_scanned_is_tagged() -> None:
    assert list(untagged_until_scanned(PUBLISH)) == []
    assert list(untagged_until_scanned(without("trivy-action")))
    tag = WORKFLOWS["ci-cd"]["jobs"]["tag"]
    assert tag["needs"] == "publish" and "$IMAGE@sha256:%s" in str(tag["steps"])
    pushing = [name for name, job in WORKFLOWS["ci-cd"]["jobs"].items() if "push=true" in str(job)]
    assert pushing == ["publish"]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_names_of_images_are_in_lower_case(name: str) -> None:
    """A registry refuses others, and an owner or a repository may have capitals."""
    assert "ghcr.io/${{ github.repository" not in TEXT[name]
    for job in WORKFLOWS[name]["jobs"].values():
        uses = [at for at, step in enumerate(job["steps"]) if "env.REGISTRY" in str(step)]
        sets = [at for at, step in enumerate(job["steps"]) if "GITHUB_REPOSITORY,,}" in step.get("run", "")]
        assert not uses or sets and sets[0] < uses[0]


@pytest.mark.parametrize("name", WORKFLOWS)
def test_packages_are_kept_between_runs(name: str) -> None:
    steps = [step for job in WORKFLOWS[name]["jobs"].values() for step in job["steps"]]
    pythons = [step["with"] for step in steps if "setup-python" in step.get("uses", "")]
    assert pythons and all("pip" in each["cache"] for each in pythons)
    if name == "ci-cd":  # a release takes nothing from a cache that another run may have filled
        assert {each["cache"] for each in pythons} == {"${{ github.ref_type == 'branch' && 'pip' || '' }}"}


def test_models_are_kept_between_runs() -> None:
    steps = WORKFLOWS["ci-cd"]["jobs"]["test"]["steps"]
    (cache,) = [step for step in steps if "actions/cache@" in step.get("uses", "")]
    assert cache["with"]["path"] == "models/artifacts" and "hashFiles('models/**'" in cache["with"]["key"]
    assert cache["if"] == "${{ github.ref_type == 'branch' }}"


def test_audits_and_mutants_run_every_week() -> None:
    weekly = WORKFLOWS["weekly"]
    (when,) = weekly[True]["schedule"]  # YAML takes `on` for true
    assert when["cron"].split()[2:4] == ["*", "*"] and when["cron"].split()[4].isdecimal()
    jobs = {name: str(job["steps"]) for name, job in weekly["jobs"].items()}
    assert "pip-audit" in jobs["audit"] and "trivy" in jobs["images"] and "make mutants" in jobs["mutants"]


def test_a_released_chart_names_its_publishers_registry(tmp_path: Path) -> None:
    environment = {**os.environ, "PATH": f"{find('helm').parent}:{os.environ['PATH']}"}
    script = ROOT / ".github" / "package_chart.sh"
    subprocess.run([script, "ghcr.io/somebody/theirs"], cwd=tmp_path, env=environment, check=True, timeout=60)
    (package,) = tmp_path.glob("millstream-*.tgz")
    command = [str(find("helm")), "template", "millstream", str(package)]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    workloads = [each for each in yaml.safe_load_all(made) if each and each["kind"] in ("Deployment", "Job")]
    images = {each["spec"]["template"]["spec"]["containers"][0]["image"].rpartition("/")[0] for each in workloads}
    assert images == {"ghcr.io/somebody/theirs", "grafana"}
    assert "GITHUB_REPOSITORY,,}" in str(WORKFLOWS["ci-cd"]["jobs"]["release"])
