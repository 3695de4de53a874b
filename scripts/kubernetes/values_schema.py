"""values.schema.json: what the chart's values may be. Helm refuses the rest, unknown names too.

What the services' settings may be is taken from their classes, so the chart knows them as the services do.
"""

from __future__ import annotations

import json

from scripts.kubernetes.chart import CHART
from scripts.kubernetes.value_types import (
    ADDRESS,
    CPU,
    FLAG,
    IMAGE,
    NAME,
    OPTIONAL_NAME,
    OPTIONAL_TEXT,
    PORT,
    SERVED,
    SIZE,
    TEXT,
    TEXTS,
    URL,
    VERSION,
    Schema,
    closed,
    integer,
    listed,
    reference,
)
from scripts.settings_table import CLASSES

FILE = CHART / "values.schema.json"
# Made by the templates. Nor are secrets, which stand in no ConfigMap, and the files of such.
NOT_SETTABLE = (
    "MODEL_CATALOGUE",
    "GATEWAY_HOST",
    "GATEWAY_PORT",
    "ADMIN_HOST",
    "ADMIN_PORT",
    "INPUT_DIGEST_SECRET",
    "INPUT_DIGEST_SECRET_FILE",
    "WEBHOOK_SECRET",
    "WEBHOOK_SECRET_FILE",
    "WORKER_MODELS",
    "WORKER_METRICS_HOST",
    "WORKER_METRICS_PORT",
    "PERSISTER_METRICS_HOST",
    "PERSISTER_METRICS_PORT",
    "ARTIFACT_CACHE",
    "ARTIFACT_CACHE_MB",
    "AWS_ACCESS_KEY_ID",
)
_MEANINGFUL = (
    "type",
    "enum",
    "anyOf",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "minLength",
    "maxLength",
    "pattern",
    "description",
)


def settings() -> Schema:
    """The services' settings by their variables, with the limits of their classes."""
    known: Schema = {}
    for each in CLASSES:
        for name, field in each.model_json_schema()["properties"].items():
            if name.upper() not in NOT_SETTABLE and not _is_secret(name, field):
                known.setdefault(name.upper(), {key: field[key] for key in _MEANINGFUL if key in field})
    return closed(known)


def _is_secret(name: str, field: Schema) -> bool:
    is_file = name.endswith("_file") and name != "jwt_key_file"  # which has a public key
    return is_file or "writeOnly" in {**field, **field.get("anyOf", [{}])[0]}


def resources() -> Schema:
    """Requests and limits, all of them: a container without one takes its neighbours' share."""
    amounts = closed({"cpu": CPU, "memory": SIZE}, ("cpu", "memory"))
    return closed({"requests": amounts, "limits": amounts}, ("requests", "limits"))


def component(**own: Schema) -> Schema:
    """A service: what all have, and its own."""
    return {
        "replicas": integer(0, 1000),
        "resources": reference("resources"),
        "settings": reference("settings"),
        "podAnnotations": TEXTS,
        **placement(),
        **own,
    }


def placement() -> Schema:
    """Where pods go, and before whom."""
    return {
        "nodeSelector": TEXTS,
        "tolerations": {"type": "array", "items": {"type": "object"}},
        "priorityClassName": TEXT,
    }


def scaling(signal: str) -> Schema:
    """Limits of an autoscaler, and the target of its own signal."""
    return closed(
        {
            "minReplicas": integer(1, 1000),
            "maxReplicas": integer(1, 1000),
            signal: integer(1, 10_000_000),
            "cpuPercent": integer(1, 1000),
        }
    )


def keys_of(*services: str) -> Schema:
    """A key of a Secret for each service, if it has one of its own."""
    return closed(dict.fromkeys(services, OPTIONAL_TEXT))


def external(**own: Schema) -> Schema:
    """A store of the user's."""
    return closed({"existingSecret": OPTIONAL_NAME, "key": {"type": "string", "minLength": 1}, **own})


def volume() -> Schema:
    """A store's image, volume and place."""
    return {"enabled": FLAG, "image": IMAGE, "storage": SIZE, "storageClass": OPTIONAL_NAME, **placement()}


def general() -> Schema:
    """What holds for everything: names, images, settings, models, artifacts, secrets."""
    return {
        "global": {"type": "object", "description": "Helm's own, where this chart is a part of another"},
        "namePrefix": {"type": ["string", "null"], "pattern": "^([a-z]([-a-z0-9]{0,19}-)?)?$"},
        "images": closed(
            {
                "registry": {"type": "string", "pattern": "^[a-z0-9][a-z0-9./:_-]*[a-z0-9]$"},
                "tag": {"type": ["string", "null"], "pattern": "^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"},
                "pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
                "pullSecrets": listed(NAME),
            }
        ),
        "settings": reference("settings"),
        "catalogue": TEXT,
        "limits": TEXT,
        "artifacts": closed(
            {
                "existingClaim": OPTIONAL_NAME,
                "buckets": closed(
                    {
                        "enabled": FLAG,
                        "existingSecret": OPTIONAL_NAME,
                        "cacheClaim": OPTIONAL_NAME,
                        "cacheMB": integer(100, 100_000_000),
                    }
                ),
            }
        ),
        "certificates": closed({"existingConfigMap": OPTIONAL_NAME}),
        "secret": closed({"existing": OPTIONAL_NAME}),
    }


def services() -> Schema:
    """What runs: the services, and how many of each."""
    worker = component(
        image={**IMAGE, "type": ["string", "null"]},
        autoscaling=scaling("queueDepth"),
        gpu=integer(0, 16),
        torch=FLAG,
        tmpSize=SIZE,
        startupSeconds=integer(5, 86_400),
    )  # an entry of `models` may set each of them
    return {
        "api": closed(component(autoscaling=scaling("inFlight"), preStopSeconds=integer(0, 300))),
        "worker": closed(worker),
        "models": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[a-z0-9]([-a-z0-9]{0,28}[a-z0-9])?$"},
            "additionalProperties": closed({"versions": listed(SERVED, 1), **worker}, ("versions",)),
        },
        "persister": closed(component(autoscaling=scaling("queueDepth"))),
        "migrate": closed({"enabled": FLAG, "resources": reference("resources")}),
        "autoscaling": closed(
            {
                "mode": {"enum": ["hpa", "keda", "none"]},
                "scaleInAfterSeconds": integer(0, 3600),
                "keda": closed({"scaleToZero": FLAG, "pollingSeconds": integer(1, 3600), "prometheusUrl": URL}),
            }
        ),
    }


def stores() -> Schema:
    """Postgres and Redis, the chart's or the user's."""
    return {
        "postgres": closed(
            {
                **volume(),
                "external": external(port=PORT, keys=keys_of("migrate", "gateway", "persister")),
                "maxConnections": integer(10, 10_000),
                "resources": reference("resources"),
            }
        ),
        "redis": closed(
            {
                **volume(),
                "external": external(
                    address={**ADDRESS, "type": ["string", "null"]},
                    tls=FLAG,
                    passwordKey=OPTIONAL_TEXT,
                    usernameKey=OPTIONAL_TEXT,
                    keys=keys_of("gateway", "worker", "persister"),
                ),
                "maxmemoryMiB": integer(64, 1_048_576),
                "appendfsync": {"enum": ["always", "everysec", "no"]},
                "cpuRequest": CPU,
                "cpuLimit": CPU,
            }
        ),
    }


def network() -> Schema:
    """Who reaches what, and what is evicted last."""
    return {
        "service": closed({"type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]}, "annotations": TEXTS}),
        "ingress": closed(
            {
                "enabled": FLAG,
                "className": NAME,
                "host": NAME,
                "tlsSecret": {"type": "string", "pattern": f"^$|{NAME['pattern']}"},
                "annotations": TEXTS,
                "paths": listed({"type": "string", "pattern": "^/"}, 1),
            }
        ),
        "networkPolicy": closed(
            {
                "enabled": FLAG,
                "clientNamespaces": listed(NAME),
                "monitoringNamespaces": listed(NAME),
                "kedaNamespace": NAME,
                "workersReachHub": FLAG,
                "extraEgress": {"type": "array", "items": {"type": "object"}},
            }
        ),
        "priorityClasses": closed({"create": FLAG}),
        "podDisruptionBudgets": closed({"enabled": FLAG}),
    }


def monitoring() -> Schema:
    """Prometheus, Grafana, what they are told, and the test of a release."""
    return {
        "prometheus": closed(
            {
                **volume(),
                "retention": {"type": "string", "pattern": "^[1-9][0-9]*[hdwy]$"},
                "alertmanagers": listed(ADDRESS),
                "resources": reference("resources"),
            }
        ),
        "grafana": closed(
            {
                "enabled": FLAG,
                "image": IMAGE,
                "prometheusUrl": URL,
                "resources": reference("resources"),
                **placement(),
            }
        ),
        "serviceMonitor": closed({"enabled": FLAG, "labels": TEXTS}),
        "prometheusRule": closed({"enabled": FLAG, "labels": TEXTS}),
        "dashboards": closed({"enabled": FLAG, "labels": TEXTS}),
        "test": closed(
            {"version": VERSION, "tokenSecret": OPTIONAL_NAME, "tokenKey": {"type": "string", "minLength": 1}}
        ),
    }


def schema() -> Schema:
    """The whole schema."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Values of the chart millstream; made by make manifests",
        **closed({**general(), **services(), **stores(), **network(), **monitoring()}),
        "$defs": {"settings": settings(), "resources": resources()},
    }


def text() -> str:
    """The file."""
    return json.dumps(schema(), indent=2, ensure_ascii=False) + "\n"
