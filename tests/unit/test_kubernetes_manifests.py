"""What the plain manifests promise. `make validate` has them checked against Kubernetes' schemas."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.kubernetes import chart
from scripts.kubernetes.plain import BY_HAND, FOLDER
from scripts.settings_table import variables
from scripts.tools.kit import find
from shared.service.catalogue_file import load_catalogue

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = load_catalogue(ROOT / "models" / "models.toml")
NAMED = {
    *("namespace", "configmap", "secret", "deployment-api", "deployment-persister", "deployment-postgres"),
    *("deployment-worker-sentiment", "deployment-worker-summarization", "deployment-worker-embeddings"),
    *("deployment-redis", "prometheus", "grafana", "job-migrate", "service-api", "service-postgres", "service-redis"),
    *("ingress", "hpa", "networkpolicy", "pdb"),
}
# From the image: what else a container reads.
OTHERS_VARIABLES = re.compile(
    r"^(GF|POSTGRES)_|^(PGDATA|PROMETHEUS_URL|REDISCLI_AUTH|REDIS_(GATEWAY|WORKER|PERSISTER)_PASSWORD|RUN_FOLDER)$"
)


def objects(pattern: str = "*") -> list[Object]:
    """The objects of the files that match."""
    paths = sorted(FOLDER.glob(f"{pattern}.yaml"))
    return [each for path in paths for each in chart.objects(path.read_text(encoding="utf-8"))]


ALL = objects()
CONFIG = next(each for each in ALL if each["kind"] == "ConfigMap" and each["metadata"]["name"] == "config")["data"]
WORKLOADS = {each["metadata"]["name"]: each for each in ALL if each["kind"] in ("Deployment", "StatefulSet", "Job")}
SERVICES = {name: each for name, each in WORKLOADS.items() if re.match("api|worker-|persister", name)}
AUTOSCALERS = {each["metadata"]["name"]: each["spec"] for each in ALL if each["kind"] == "HorizontalPodAutoscaler"}
WORKERS = {name: each for name, each in SERVICES.items() if name.startswith("worker-")}


def pod(workload: Object) -> Object:
    """The specification of its pods."""
    spec: Object = workload["spec"]["template"]["spec"]
    return spec


def container(workload: Object) -> Object:
    """Its one container."""
    (only,) = pod(workload)["containers"]
    assert isinstance(only, dict)
    return only


def variables_of(workload: Object) -> dict[str, str]:
    """The environment of its container, where it stands in the manifests."""
    own = {each["name"]: each.get("value", "") for each in container(workload).get("env", [])}
    return {**(CONFIG if "envFrom" in container(workload) else {}), **own}


def served(workload: Object) -> list[str]:
    """The versions that a worker serves, as the worker reads its setting."""
    return [each.label for each in CATALOGUE.select(variables_of(workload)["WORKER_MODELS"])]


def depths(autoscaler: Object) -> Iterator[str]:
    """The versions whose queues an autoscaler adds up."""
    for metric in autoscaler["metrics"]:
        if metric["type"] == "External" and metric["external"]["metric"]["name"] == "millstream_model_queue_depth":
            wanted = {each["key"]: each for each in metric["external"]["metric"]["selector"]["matchExpressions"]}
            assert {each["operator"] for each in wanted.values()} == {"In"}
            for each in CATALOGUE.served():
                if each.model in wanted["model"]["values"] and each.version.version in wanted["version"]["values"]:
                    yield each.label


def test_the_files_are_there() -> None:
    stems = {path.stem for path in FOLDER.glob("*.yaml") if not path.name.startswith("00-")}
    assert NAMED <= stems
    assert all(re.match("deployment-worker-", each) for each in stems - NAMED)
    assert {(FOLDER / each).resolve().name for each in BY_HAND} == {"namespace.yaml", "secret.yaml"}


def used_by(workload: Object) -> set[tuple[str, str]]:
    """What must be there before a workload: kind and name."""
    spec, own = pod(workload), container(workload)
    sources = [each["valueFrom"]["secretKeyRef"] for each in own.get("env", []) if "valueFrom" in each]
    return {
        ("Namespace", workload["metadata"]["namespace"]),
        ("ServiceAccount", spec["serviceAccountName"]),
        ("PriorityClass", spec["priorityClassName"]),
        *(("Secret", each["name"]) for each in sources),
        *(("ConfigMap", each["configMapRef"]["name"]) for each in own.get("envFrom", [])),
        *(("ConfigMap", each["configMap"]["name"]) for each in spec["volumes"] if "configMap" in each),
    } - MADE_BY_KUBECTL


def test_what_is_used_comes_before_what_uses_it() -> None:
    """kubectl applies the files of a folder in the order of their names."""
    there: set[tuple[str, str]] = set()
    for each in ALL:
        if each["kind"] in ("Deployment", "StatefulSet", "Job"):
            assert used_by(each) <= there, f"{each['metadata']['name']}: {used_by(each) - there}"
        there.add((each["kind"], each["metadata"]["name"]))


def test_every_version_of_the_catalogue_is_served_by_one_worker() -> None:
    serving = [label for each in WORKERS.values() for label in served(each)]
    wanted = sorted(each.label for each in CATALOGUE.served())
    assert sorted(serving) == wanted, "correct `models` in k8s/chart/values.yaml, then: make manifests"


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_an_autoscaler_on_its_own_signal_and_on_cpu(name: str) -> None:
    autoscaler = AUTOSCALERS[name]
    assert autoscaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    assert "replicas" not in SERVICES[name]["spec"], "each apply would undo what the autoscaler did"
    own, cpu = autoscaler["metrics"]
    assert cpu["resource"]["name"] == "cpu"
    assert autoscaler["behavior"]["scaleDown"]["stabilizationWindowSeconds"] >= 60
    if name == "api":
        assert own["pods"]["metric"]["name"] == "millstream_http_requests_in_flight"
    elif name == "persister":
        assert own["external"]["metric"]["name"] == "millstream_results_queue_depth"
    else:
        assert list(depths(autoscaler)) == served(SERVICES[name])
    assert set(AUTOSCALERS) == set(SERVICES)


@pytest.mark.parametrize("name", WORKLOADS)
def test_pods_keep_to_the_restricted_profile(name: str) -> None:
    spec, own = pod(WORKLOADS[name]), container(WORKLOADS[name])
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["securityContext"]["runAsUser"] == (
        10001 if name in SERVICES or "migrate" in name else WORKLOADS_USER[name]
    )
    assert own["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is (name == "prometheus")
    assert spec["enableServiceLinks"] is False, "REDIS_PORT and the like of the Services would be taken for settings"


BUILT = ("gateway", "inference-worker", "persister", "migrate")
CLUSTER_WIDE = ("Namespace", "PriorityClass")
MADE_BY_KUBECTL = {("ConfigMap", "grafana-dashboards")}  # see k8s/README.md, and test_kubernetes_cluster.py
WORKLOADS_USER = {"postgres": 999, "redis": 999, "grafana": 472, "prometheus": 65534}


@pytest.mark.parametrize("name", WORKLOADS)
def test_containers_have_requests_limits_and_a_fixed_version(name: str) -> None:
    own = container(WORKLOADS[name])
    for each in ("requests", "limits"):
        assert set(own["resources"][each]) == {"cpu", "memory"}
    tag = own["image"].rpartition(":")[2]
    assert tag and tag != "latest" and "/" not in tag


@pytest.mark.parametrize("name", [name for name in WORKLOADS if "migrate" not in name])
def test_containers_are_probed(name: str) -> None:
    own = container(WORKLOADS[name])
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= own.keys()
    if name in SERVICES:
        assert own["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert own["readinessProbe"]["httpGet"]["path"] == "/readyz"
        ports = {each["name"]: each["containerPort"] for each in own["ports"]}
        assert own["livenessProbe"]["httpGet"]["port"] in ports
    if name in WORKERS:
        start = own["startupProbe"]
        assert start["httpGet"]["path"] == "/readyz" and start["periodSeconds"] * start["failureThreshold"] >= 300


@pytest.mark.parametrize("name", SERVICES)
def test_a_pod_has_time_to_drain(name: str) -> None:
    own = container(SERVICES[name])
    before = own.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    assert pod(SERVICES[name])["terminationGracePeriodSeconds"] > before + float(CONFIG["SHUTDOWN_GRACE_S"])
    if name == "api":
        probe = own["readinessProbe"]
        assert before > 0 and probe["periodSeconds"] * probe["failureThreshold"] < float(CONFIG["DRAIN_DELAY_S"])


@pytest.mark.parametrize("name", SERVICES)
def test_replicas_are_spread(name: str) -> None:
    labels = SERVICES[name]["spec"]["selector"]["matchLabels"]
    spread = pod(SERVICES[name])["topologySpreadConstraints"]
    assert [each["topologyKey"] for each in spread] == ["kubernetes.io/hostname", "topology.kubernetes.io/zone"]
    assert all(each["labelSelector"]["matchLabels"] == labels for each in spread)


def test_a_budget_never_blocks_a_drain_while_more_workers_are_wanted_than_fit() -> None:
    """A budget counts the replicas that are wanted; those that don't fit would be missing for ever."""
    (budget,) = objects("pdb")
    assert budget["spec"]["selector"]["matchLabels"]["app"] == "api"
    assert budget["spec"]["maxUnavailable"] == 1 and budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


@pytest.mark.parametrize("name", WORKLOADS)
def test_containers_are_told_only_what_they_know(name: str) -> None:
    known = set(variables())
    unknown = {each for each in variables_of(WORKLOADS[name]) if each not in known}
    assert not {each for each in unknown if not OTHERS_VARIABLES.match(each)}


def test_every_secret_that_is_asked_for_is_in_the_template() -> None:
    template = (FOLDER / "secret.yaml").read_text(encoding="utf-8")
    asked = {
        (each["valueFrom"]["secretKeyRef"]["name"], each["valueFrom"]["secretKeyRef"]["key"])
        for workload in WORKLOADS.values()
        for each in container(workload).get("env", [])
        if "valueFrom" in each
    }
    assert {secret for secret, _ in asked} == {"millstream-secrets"}
    assert {key for _, key in asked} == set(re.findall(r"[A-Z_]+_(?:PASSWORD|PEPPER|SECRET)", template))
    (secret,) = yaml.safe_load_all(template)
    assert not {"data", "stringData"} & secret.keys(), "apply would overwrite what was filled in"


@pytest.mark.parametrize("name", WORKLOADS)
def test_volumes_and_accounts_are_there(name: str) -> None:
    spec = pod(WORKLOADS[name])
    claims = WORKLOADS[name]["spec"].get("volumeClaimTemplates", [])
    volumes = {each["name"] for each in spec.get("volumes", [])} | {each["metadata"]["name"] for each in claims}
    assert {each["name"] for each in container(WORKLOADS[name]).get("volumeMounts", [])} == volumes
    named = {(each["kind"], each["metadata"]["name"]) for each in ALL} | MADE_BY_KUBECTL
    assert ("ServiceAccount", spec["serviceAccountName"]) in named
    assert {("ConfigMap", each["configMap"]["name"]) for each in spec["volumes"] if "configMap" in each} <= named


def test_services_lead_to_pods() -> None:
    api = next(each for each in objects("service-api"))
    assert api["metadata"]["name"] == "api-service" and api["spec"]["ports"][0]["port"] == 8000
    assert api["spec"]["selector"]["app"] == "api"
    for each in (each for each in ALL if each["kind"] == "Service"):
        name = each["spec"]["selector"]["app"]
        assert each["spec"]["selector"].items() <= WORKLOADS[name]["spec"]["template"]["metadata"]["labels"].items()
        ports = {port["name"] for port in container(WORKLOADS[name])["ports"]}
        assert {port["targetPort"] for port in each["spec"]["ports"]} <= ports


def test_all_traffic_is_denied_but_what_is_named() -> None:
    policies = {each["metadata"]["name"]: each["spec"] for each in objects("networkpolicy")}
    deny = policies.pop("default-deny")
    assert deny["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in deny
    for workload in WORKLOADS.values():
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert deny["podSelector"]["matchLabels"].items() <= labels.items()
        assert any(each["podSelector"]["matchLabels"].items() <= labels.items() for each in policies.values())
    for name, each in policies.items():
        assert all(rule.get("from") and rule["ports"] for rule in each.get("ingress", [])), name
        assert all(rule["ports"] for rule in each.get("egress", [])), name
    anywhere = [name for name, each in policies.items() if any("to" not in rule for rule in each.get("egress", []))]
    assert anywhere == ["prometheus"]  # to the API server, whose address is the cluster's


def ports_let_in(policy: Object, component: str) -> set[int]:
    """The ports on which pods of a component are let in."""
    wanted = {"app.kubernetes.io/component": component}
    return {
        port["port"]
        for rule in policy.get("ingress", [])
        for peer in rule["from"]
        for port in rule["ports"]
        if wanted.items() <= peer.get("podSelector", {}).get("matchLabels", {}).items()
    }


@pytest.mark.parametrize("name", SERVICES)
def test_metrics_and_probes_have_a_port_of_their_own_that_prometheus_reaches(name: str) -> None:
    own = container(SERVICES[name])
    ports = {each["name"]: each["containerPort"] for each in own["ports"]}
    assert {own[each]["httpGet"]["port"] for each in ("startupProbe", "livenessProbe", "readinessProbe")} == {"metrics"}
    labels = SERVICES[name]["spec"]["template"]["metadata"]["labels"]
    policies = {each["metadata"]["name"]: each["spec"] for each in objects("networkpolicy")}
    (policy,) = (
        each
        for policy, each in policies.items()
        if policy != "default-deny" and each["podSelector"]["matchLabels"].items() <= labels.items()
    )
    assert ports_let_in(policy, "prometheus") == {ports["metrics"]}
    ways_out = [port for rule in policies["prometheus"]["egress"] for port in rule["ports"]]
    assert any(each["port"] <= ports["metrics"] <= each.get("endPort", each["port"]) for each in ways_out)
    expected = {"api": "ADMIN_PORT", "persister": "PERSISTER_METRICS_PORT"}.get(name, "WORKER_METRICS_PORT")
    assert re.search(rf"\b{expected}={ports['metrics']}\b", (ROOT / "Dockerfile").read_text(encoding="utf-8"))


def test_the_way_in_leaves_out_metrics_and_dead_letters() -> None:
    (ingress,) = objects("ingress")
    paths = [each["path"] for each in ingress["spec"]["rules"][0]["http"]["paths"]]
    assert not [each for each in paths if "/metrics".startswith(each) or "/api/v1/dead-letters".startswith(each)]
    assert ingress["spec"]["tls"]


def test_images_of_others_are_those_of_compose() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    for name in ("postgres", "redis", "prometheus", "grafana"):
        assert container(WORKLOADS[name])["image"] == services[name]["image"]


def test_prometheus_has_every_rule_and_no_dashboard_stands_here_again() -> None:
    data = {each["metadata"]["name"]: each["data"] for each in ALL if each["kind"] == "ConfigMap"}
    rules = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "monitoring" / "rules").glob("*.yml")}
    assert {name: yaml.safe_load(text) for name, text in data["prometheus-rules"].items()} == {
        name: yaml.safe_load(text) for name, text in rules.items()
    }
    assert not [each["metadata"]["name"] for each in ALL if "schemaVersion" in str(each)]  # once in the repository
    jobs = yaml.safe_load(data["prometheus-config"]["prometheus.yml"])["scrape_configs"]
    labels = [each.get("target_label") for each in jobs[0]["relabel_configs"]]
    assert labels[-3:] == ["job", "namespace", "pod"]


def test_an_object_can_be_applied() -> None:
    for each in ALL:
        # kubectl apply keeps a copy in an annotation, and annotations hold 256 KiB.
        assert len(str(each)) < 200_000, each["metadata"]["name"]
        assert each["kind"] in CLUSTER_WIDE or each["metadata"]["namespace"] == "millstream"


def test_images_of_ones_own_replace_all_of_the_services() -> None:
    """As k8s/README.md says."""
    words = ("kustomize", "--load-restrictor=LoadRestrictionsNone", str(FOLDER / "own-images"))
    assert f"kubectl {' '.join(words[:2])} k8s/own-images" in (FOLDER / "README.md").read_text(encoding="utf-8")
    made = subprocess.run([find("kubectl"), *words], capture_output=True, text=True, timeout=60, check=True).stdout
    rendered = chart.objects(made)
    assert {(each["kind"], each["metadata"]["name"]) for each in rendered} == {
        (each["kind"], each["metadata"]["name"]) for each in ALL
    }
    images = {
        container(each)["image"] for each in rendered if each["kind"] in ("Deployment", "Job")
    }  # the stores' are StatefulSets
    own = {f"registry.example.com/millstream/{name}:1.2.3" for name in BUILT}
    assert images - own == {container(WORKLOADS["grafana"])["image"]} and own <= images
