"""The manifests and the chart against the API of a cluster, by the real kubectl and helm."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from scripts.kubernetes.chart import CHART, objects
from scripts.kubernetes.plain import FOLDER
from scripts.tools.kit import find
from tests.kubernetes_api import Cluster, cluster

SECRETS = "/api/v1/namespaces/millstream/secrets/millstream-secrets"


class Admin:
    """Somebody with kubectl and helm for one cluster."""

    def __init__(self, url: str, home: Path) -> None:
        self._url = url
        self._environment = {**os.environ, "HOME": str(home), "KUBECONFIG": os.devnull}

    async def kubectl(self, *words: str) -> str:
        """What kubectl prints; it must succeed."""
        return await self._run("kubectl", f"--server={self._url}", "--namespace=millstream", *words)

    async def apply(self, *paths: Path) -> str:
        """`kubectl apply` of files and folders."""
        return await self.kubectl("apply", "--validate=false", *(f"--filename={path}" for path in paths))

    async def template(self, *words: str) -> list[dict[str, Any]]:
        """What helm would install in this cluster, as it is now."""
        on_server = ("--dry-run=server", "--disable-openapi-validation", f"--kube-apiserver={self._url}")
        made = await self._run(
            "helm", "template", "millstream", str(CHART), "--namespace=millstream", *on_server, *words
        )
        return objects(made)

    async def _run(self, program: str, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            find(program), *words, env=self._environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, error = await process.communicate()
        assert process.returncode == 0, error.decode()
        return out.decode()


@pytest.fixture
async def made(tmp_path: Path) -> AsyncIterator[tuple[Cluster, Admin]]:
    """A cluster with nothing in it, and its admin."""
    async with cluster() as (empty, url):
        yield empty, Admin(url, tmp_path)


async def test_everything_is_applied_by_one_command_and_again(made: tuple[Cluster, Admin]) -> None:
    there, admin = made
    await admin.apply(FOLDER)
    applied = there.kinds()
    assert applied["Deployment"] >= 7 and applied["StatefulSet"] == 3 and applied["Job"] == 1
    assert applied["HorizontalPodAutoscaler"] == 6 and applied["PriorityClass"] == 3
    await admin.apply(FOLDER / "namespace.yaml", FOLDER)
    assert there.kinds() == applied


async def test_nothing_is_made_in_a_namespace_that_is_not_there(made: tuple[Cluster, Admin]) -> None:
    there, admin = made
    with pytest.raises(AssertionError, match="namespaces/millstream: NotFound"):
        await admin.apply(FOLDER / "configmap.yaml")
    assert not there.kinds()


async def test_the_readmes_command_makes_the_config_map_of_the_dashboards(made: tuple[Cluster, Admin]) -> None:
    _, admin = made
    create = "create configmap grafana-dashboards --from-file=monitoring/grafana/dashboards"
    assert f"$ kubectl --namespace millstream {create}" in (FOLDER / "README.md").read_text(encoding="utf-8")
    *words, source = create.split()
    folder = FOLDER.parent / source.removeprefix("--from-file=")
    shown = await admin.kubectl(*words, f"--from-file={folder}", "--dry-run=client", "--output=json")
    config_map = json.loads(shown)
    files = {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}
    assert config_map["data"] == files and len(files) == 5
    assert len(shown) < 1_000_000, "a ConfigMap holds at most 1 MiB"


async def test_a_filled_secret_stays_filled(made: tuple[Cluster, Admin]) -> None:
    there, admin = made
    template = FOLDER / "secret.yaml"
    await admin.apply(FOLDER / "namespace.yaml", template)
    assert there.secret("millstream-secrets") == {}
    filling = "kubectl --namespace millstream patch secret millstream-secrets"
    assert filling in template.read_text(encoding="utf-8")
    await admin.kubectl("patch", "secret", "millstream-secrets", '--patch={"stringData": {"REDIS_PASSWORD": "abc"}}')
    assert "unchanged" in await admin.apply(template)
    assert there.secret("millstream-secrets") == {"REDIS_PASSWORD": "abc"}


async def test_a_secret_that_was_there_first_stays_filled(made: tuple[Cluster, Admin]) -> None:
    there, admin = made
    metadata = {"name": "millstream-secrets", "namespace": "millstream"}  # as `kubectl create` makes it
    there.objects[SECRETS] = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "data": {"REDIS_PASSWORD": "YWJj"},
    }
    await admin.apply(FOLDER / "secret.yaml")
    await admin.apply(FOLDER / "secret.yaml")
    assert there.secret("millstream-secrets") == {"REDIS_PASSWORD": "abc"}


async def test_the_charts_passwords_are_random_and_kept_by_upgrades(made: tuple[Cluster, Admin]) -> None:
    there, admin = made
    first, second = [_secret(await admin.template()) for _ in range(2)]
    assert not set(first["data"].values()) & set(second["data"].values())
    owner = {"meta.helm.sh/release-name": "millstream", "meta.helm.sh/release-namespace": "millstream"}
    first["metadata"]["annotations"] |= owner  # as helm marks what it installs
    del first["data"]["GRAFANA_PASSWORD"]  # a key that this version is the first to have
    there.objects[SECRETS] = first
    upgraded = _secret(await admin.template("--is-upgrade"))["data"]
    assert upgraded.pop("GRAFANA_PASSWORD")
    assert upgraded == first["data"]


def _secret(objects: list[dict[str, Any]]) -> dict[str, Any]:
    return next(each for each in objects if each["kind"] == "Secret")
