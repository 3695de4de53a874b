"""scripts/deploy.sh and scripts/setup.sh, with programs in place of helm, kubectl and make that note their calls."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.tools.kit import ROOT

NOTE = 'echo "$(basename "$0") $*" >>"$CALLS"\n'
HELM = """case "$*" in
version*) echo "${HELM_VERSION:-v4.3.1}" ;;
*" list "*) echo "${RELEASES:-[]}" ;;
*" upgrade "*) exit "${UPGRADE_ENDS:-0}" ;;
*" test "*) exit "${TEST_ENDS:-0}" ;;
*" rollback "*|*" uninstall "*) exit "${BACK_ENDS:-0}" ;;
esac
"""
KUBECTL = """case "$*" in
*get-contexts*) printf 'kind-a\\nkind-b\\n' ;;
*current-context*) echo "${CURRENT:-kind-a}" ;;
*/readyz*) exit "${CLUSTER_ENDS:-0}" ;;
*"get namespace"*) exit "${NAMESPACE_ENDS:-0}" ;;
esac
"""
INSTALLED = '[{"name":"millstream","revision":"7","status":"deployed"}]'


class Machine:
    """A copy of the script beside a chart, and a PATH that begins with the programs above."""

    def __init__(self, folder: Path) -> None:
        self.calls = folder / "calls"
        self.root = folder / "repository"
        self.bin = folder / "bin"
        for made in (self.root / "scripts", self.root / "k8s" / "chart", self.bin):
            made.mkdir(parents=True)
        for name in ("deploy.sh", "setup.sh"):
            shutil.copy(ROOT / "scripts" / name, self.root / "scripts" / name)
        for name in ("staging", "production"):
            (self.root / "k8s" / "chart" / f"values-{name}.yaml").touch()
        for name, body in {"helm": HELM, "kubectl": KUBECTL, "make": ""}.items():
            self.program(name, body)

    def program(self, name: str, body: str) -> None:
        """Put a program on PATH that notes its call."""
        (self.bin / name).write_text(f"#!/bin/bash\n{NOTE}{body}", encoding="utf-8")
        (self.bin / name).chmod(0o755)

    def run(self, script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one of the scripts."""
        settings = {"PATH": f"{self.bin}:{os.environ['PATH']}", "CALLS": str(self.calls), **environment}
        return subprocess.run(
            ["bash", str(self.root / "scripts" / script), *arguments],
            env=settings,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def changes(self) -> list[str]:
        """The calls that change something, without where."""
        said = self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else []
        words = [line.partition(" --namespace ")[2].split() for line in said if line.startswith("helm --kube-context")]
        return [each[1] for each in words if each[1] != "list"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine of the test's own."""
    return Machine(tmp_path)


def test_deploying_upgrades_and_tests(machine: Machine) -> None:
    more = machine.root / "more.yaml"
    more.touch()
    done = machine.run("deploy.sh", "staging", "--tag", "1.2.0", "--registry", "ghcr.io/a/b", "--values", str(more))
    assert done.returncode == 0, done.stderr
    assert machine.changes() == ["upgrade", "test"]
    upgrade = next(line for line in machine.calls.read_text(encoding="utf-8").splitlines() if " upgrade " in line)
    assert upgrade.startswith("helm --kube-context kind-a --namespace millstream-staging upgrade millstream ")
    assert "--install --rollback-on-failure --wait --timeout 10m" in upgrade
    first, second = upgrade.index("values-staging.yaml"), upgrade.index("more.yaml")
    assert first < second, "further values come after those of the environment"
    assert upgrade.endswith("--set-string images.tag=1.2.0 --set-string images.registry=ghcr.io/a/b")
    assert "pod-security.kubernetes.io/enforce=restricted" in machine.calls.read_text(encoding="utf-8")


def test_helm_3_has_another_name_for_rolling_back(machine: Machine) -> None:
    assert machine.run("deploy.sh", "staging", HELM_VERSION="v3.18.4+gd80839c").returncode == 0
    assert "--install --atomic --wait" in machine.calls.read_text(encoding="utf-8")


def test_a_missing_namespace_is_made(machine: Machine) -> None:
    assert machine.run("deploy.sh", "staging", NAMESPACE_ENDS="1").returncode == 0
    assert "create namespace millstream-staging" in machine.calls.read_text(encoding="utf-8")


def test_a_failed_upgrade_is_left_to_helm(machine: Machine) -> None:
    done = machine.run("deploy.sh", "staging", UPGRADE_ENDS="1", RELEASES=INSTALLED)
    assert done.returncode == 1 and "the upgrade failed, and helm took it back" in done.stderr
    assert machine.changes() == ["upgrade"]


def test_a_failed_smoke_test_brings_back_what_ran(machine: Machine) -> None:
    done = machine.run("deploy.sh", "staging", TEST_ENDS="1", RELEASES=INSTALLED)
    assert done.returncode == 1 and "going back to revision 7" in done.stderr
    assert machine.changes() == ["upgrade", "test", "rollback"]
    assert " rollback millstream 7 --wait" in machine.calls.read_text(encoding="utf-8")


def test_a_failed_smoke_test_of_a_first_install_removes_it(machine: Machine) -> None:
    done = machine.run("deploy.sh", "staging", TEST_ENDS="1")
    assert done.returncode == 1 and "nothing ran before" in done.stderr
    assert machine.changes() == ["upgrade", "test", "uninstall"]


def test_a_failed_rollback_is_told_apart(machine: Machine) -> None:
    done = machine.run("deploy.sh", "staging", TEST_ENDS="1", BACK_ENDS="1", RELEASES=INSTALLED)
    assert done.returncode == 3 and "the broken release still runs" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "environment", "changed"),
    [((), {}, []), (("--confirm",), {}, ["upgrade", "test"]), ((), {"CI": "true"}, ["upgrade", "test"])],
)
def test_production_wants_to_be_confirmed(
    machine: Machine, arguments: tuple[str, ...], environment: dict[str, str], changed: list[str]
) -> None:
    done = machine.run("deploy.sh", "production", *arguments, **environment)
    assert machine.changes() == changed
    assert done.returncode == (0 if changed else 2)
    assert changed or "add --confirm if you mean it" in done.stderr


def test_a_dry_run_changes_nothing_and_needs_no_cluster(machine: Machine) -> None:
    done = machine.run("deploy.sh", "production", "--dry-run", CLUSTER_ENDS="1")
    assert done.returncode == 0 and machine.changes() == []
    assert "upgrade millstream" in done.stdout and " test millstream " in done.stdout
    assert not [line for line in machine.calls.read_text(encoding="utf-8").splitlines() if line.startswith("kubectl")]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((), "say where to"),
        (("moon",), "'moon' is neither staging nor production"),
        (("staging", "production"), "one environment at a time: staging or production"),
        (("staging", "--tag"), "--tag needs a value"),
        (("staging", "--tag", "--confirm"), "--tag needs a value"),
        (("staging", "--force"), "there is no option --force"),
        (("staging", "--values", "nowhere.yaml"), "--values: there is no file nowhere.yaml"),
        (("staging", "--timeout", "soon"), "--timeout soon is not a time such as 90s or 10m"),
        (("staging", "--context", "kind-c"), "no context 'kind-c' (there are: kind-a kind-b)"),
    ],
)
def test_wrong_arguments_are_refused(machine: Machine, arguments: tuple[str, ...], says: str) -> None:
    done = machine.run("deploy.sh", *arguments)
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert machine.changes() == []


def test_what_is_missing_is_named(machine: Machine) -> None:
    done = machine.run("deploy.sh", "staging", CLUSTER_ENDS="1")
    assert done.returncode == 2 and "the cluster of the context 'kind-a' does not answer" in done.stderr
    (machine.root / "k8s" / "chart" / "values-staging.yaml").unlink()
    assert "there is no k8s/chart/values-staging.yaml" in machine.run("deploy.sh", "staging").stderr


def bare_path(machine: Machine, *names: str) -> str:
    """A PATH with little but these programs of the system; `true` takes the place of a Python that has all."""
    folder = machine.root / "path"
    folder.mkdir()
    for name in ("bash", "dirname", "basename", "cat", *names):
        (folder / name).symlink_to(shutil.which("true" if name == "python3" else name) or name)
    return str(folder)


def test_a_missing_helm_is_named(machine: Machine) -> None:
    done = machine.run("deploy.sh", "staging", PATH=bare_path(machine))
    assert done.returncode == 2 and "helm is not installed: make tools-helm" in done.stderr


@pytest.mark.parametrize("script", ["deploy.sh", "setup.sh"])
def test_help_is_there(machine: Machine, script: str) -> None:
    done = machine.run(script, "--help")
    assert done.returncode == 0 and done.stdout.startswith(f"usage: scripts/{script}")


def test_setting_up_goes_through_make(machine: Machine) -> None:
    assert machine.run("setup.sh").returncode == 0
    targets = [line.split()[-1] for line in machine.calls.read_text(encoding="utf-8").splitlines()]
    assert targets == [".venv/.installed", "env", "models"]


def test_setting_up_dryly_does_nothing(machine: Machine) -> None:
    done = machine.run("setup.sh", "--dry-run", "--no-models")
    assert done.returncode == 0 and "would run: make PYTHON=python3 env" in done.stdout
    assert "models" not in done.stdout and not machine.calls.exists()


def test_setting_up_names_what_is_missing(machine: Machine) -> None:
    path = bare_path(machine, "python3")
    done = machine.run("setup.sh", PATH=path)
    assert done.returncode == 2 and "missing, by Debian's names: make curl." in done.stderr
    done = machine.run("setup.sh", "--install-packages", PATH=path)
    assert done.returncode == 2 and "there is no apt-get here" in done.stderr


def test_setting_up_installs_what_is_missing_where_it_is_told_to(machine: Machine) -> None:
    machine.program("apt-get", "")
    machine.program("sudo", "")
    (machine.bin / "env").symlink_to(shutil.which("env") or "env")
    path = f"{machine.bin}:{bare_path(machine, 'python3')}"
    done = machine.run("setup.sh", "--install-packages", "--dry-run", PATH=path)
    assert done.returncode == 0, done.stderr
    assert "apt-get -qq install --yes --no-install-recommends curl" in done.stdout


def test_an_old_python_is_refused(machine: Machine) -> None:
    machine.program("old-python", 'case "$*" in *version_info*) exit 1 ;; --version) echo Python 3.9.2 ;; esac\n')
    done = machine.run("setup.sh", PYTHON="old-python")
    assert done.returncode == 2 and "old-python is Python 3.9.2, not 3.11 or later" in done.stderr
    assert machine.run("setup.sh", "--fast").returncode == 2
