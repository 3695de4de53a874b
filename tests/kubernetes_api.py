"""Enough of a cluster's API for kubectl and helm to work against it: objects are made, read and merged; nothing runs.

What it can't tell: whether a cluster would accept an object (`make validate` checks them against schemas), or what
controllers make of it.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

Object = dict[str, Any]

# Kinds by group and version, with the names of their resources.
KINDS = {
    "v1": {
        "Namespace": "namespaces",
        "Secret": "secrets",
        "ConfigMap": "configmaps",
        "Service": "services",
        "ServiceAccount": "serviceaccounts",
        "Pod": "pods",
    },
    "apps/v1": {"Deployment": "deployments", "StatefulSet": "statefulsets"},
    "batch/v1": {"Job": "jobs"},
    "autoscaling/v2": {"HorizontalPodAutoscaler": "horizontalpodautoscalers"},
    "networking.k8s.io/v1": {"Ingress": "ingresses", "NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
    "rbac.authorization.k8s.io/v1": {"Role": "roles", "RoleBinding": "rolebindings"},
    "scheduling.k8s.io/v1": {"PriorityClass": "priorityclasses"},
}
CLUSTER_WIDE = ("Namespace", "PriorityClass")  # they lie in no namespace


def merge(target: Object, patch: Object) -> Object:
    """Merge a patch in place: null takes away, lists are replaced. (Strategic merges of lists are not known here.)"""
    for key, value in patch.items():
        if value is None:
            target.pop(key, None)
        elif isinstance(value, dict) and isinstance(target.get(key), dict):
            merge(target[key], value)
        else:
            target[key] = value
    return target


class Cluster:
    """The objects of a cluster, by the path they are asked for."""

    def __init__(self) -> None:
        self.objects: dict[str, Object] = {}

    def secret(self, name: str, namespace: str = "millstream") -> dict[str, str]:
        """What a Secret holds, decoded."""
        data = self.objects[f"/api/v1/namespaces/{namespace}/secrets/{name}"].get("data", {})
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def kinds(self) -> dict[str, int]:
        """How many objects there are of each kind."""
        found = [str(each["kind"]) for each in self.objects.values()]
        return {kind: found.count(kind) for kind in sorted(set(found))}

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request."""
        path = request.path.rstrip("/")
        known = _discovery(path)
        if known is not None:
            return web.json_response(known)
        if not _is_known(path):
            return _status(404, "NotFound", path)
        if request.method == "POST":
            sent = await request.json()
            namespace = (
                f"/api/v1/namespaces/{path.split('/namespaces/')[1].split('/')[0]}" if "/namespaces/" in path else ""
            )
            if namespace and namespace not in self.objects:
                return _status(404, "NotFound", namespace)
            path = f"{path}/{sent['metadata']['name']}"
            return self._put(path, sent) if path not in self.objects else _status(409, "AlreadyExists", path)
        if request.method == "PATCH":
            sent = await request.json()
            if path not in self.objects:
                return _status(404, "NotFound", path)
            return self._put(path, merge(self.objects.get(path, {}), sent))
        if path not in self.objects:
            return _status(404, "NotFound", path)
        return web.json_response(self.objects[path])

    def _put(self, path: str, sent: Object) -> web.Response:
        for key, value in (sent.pop("stringData", None) or {}).items():
            sent.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()
        self.objects[path] = sent
        return web.json_response(sent)


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[Cluster, str]]:
    """A cluster, and the URL of its API."""
    made = Cluster()
    app = web.Application(client_max_size=10_000_000)
    app.router.add_route("*", "/{path:.*}", made.answer)
    async with TestServer(app) as server:
        yield made, str(server.make_url("/")).rstrip("/")


def _is_known(path: str) -> bool:
    """Whether a path is that of objects of a known kind."""
    words = path.strip("/").split("/")
    group, rest = ("v1", words[2:]) if words[0] == "api" else ("/".join(words[1:3]), words[3:])
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        rest = rest[2:]
    return bool(rest) and rest[0] in KINDS.get(group, {}).values()


def _discovery(path: str) -> Object | None:
    if path == "/version":
        return {"major": "1", "minor": "37", "gitVersion": "v1.37.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [
            {"name": group.split("/")[0], "versions": [version], "preferredVersion": version}
            for group in KINDS
            if "/" in group
            for version in [{"groupVersion": group, "version": group.split("/")[1]}]
        ]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    group = path.removeprefix("/apis/") if path.startswith("/apis/") else path.removeprefix("/api/")
    if group not in KINDS:
        return None
    verbs = ["create", "delete", "get", "list", "patch", "update"]
    resources = [
        {"name": name, "singularName": "", "namespaced": kind not in CLUSTER_WIDE, "kind": kind, "verbs": verbs}
        for kind, name in KINDS[group].items()
    ]
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group, "resources": resources}


def _status(code: int, reason: str, path: str) -> web.Response:
    status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code}
    return web.json_response({**status, "message": f"{path}: {reason}"}, status=code)
