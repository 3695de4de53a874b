"""What the chart renders, refuses and says of itself, by the real helm."""

from __future__ import annotations

import ast
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from scripts.kubernetes import __main__ as kubernetes
from scripts.kubernetes import chart, plain, room, values_schema, values_table
from scripts.kubernetes.chart import CHART, RenderingFailed, render
from scripts.stack import dotenv
from shared.contract.catalogue import ServedVersion, Version
from shared.contract.keys import Keys
from shared.contract.queues import queues_of
from shared.contract.selection import parse_selection
from shared.streams.access import SCALER
from tests.hpa.adapter import load_rules, rule_of

Object = dict[str, Any]

DEFAULT_MODELS = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))["models"]
RECORDED = ("namespace_worker:millstream_queue_depth:sum", "namespace_model_version:millstream_queue_depth:max")
FILES = sorted([*CHART.glob("values-*.yaml"), *(CHART / "ci").glob("*.yaml")])


def objects(*options: str, values: tuple[Path, ...] = ()) -> list[Object]:
    """What the chart renders."""
    return chart.objects(render(*options, values=values))


def named(made: list[Object], kind: str, name: str) -> Object:
    """One of these objects."""
    return next(each for each in made if each["kind"] == kind and each["metadata"]["name"] == name)


def container(workload: Object) -> Object:
    """Its one container."""
    (only,) = workload["spec"]["template"]["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def test_what_is_made_from_the_chart_is_current(capsys: pytest.CaptureFixture[str]) -> None:
    assert kubernetes.main([]) == 0, f"run: make manifests\n{capsys.readouterr().err}"


def test_a_manifest_that_drifts_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in plain.FOLDER.glob("*.yaml"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(plain, "FOLDER", tmp_path)
    monkeypatch.setattr(kubernetes, "ROOT", tmp_path)
    monkeypatch.setattr(kubernetes, "documentation", dict)
    monkeypatch.setattr(values_schema, "FILE", tmp_path / "values.schema.json")
    values_schema.FILE.write_text(values_schema.text(), encoding="utf-8")
    assert kubernetes.main([]) == 0
    hpa = tmp_path / "hpa.yaml"
    hpa.write_text(hpa.read_text(encoding="utf-8").replace("maxReplicas: 10", "maxReplicas: 11"), encoding="utf-8")
    (tmp_path / "deployment-worker-old.yaml").write_text("kind: Deployment\n", encoding="utf-8")
    assert kubernetes.main([]) == 1
    said = capsys.readouterr().err
    assert "hpa.yaml is not what would be made: make manifests" in said and "deployment-worker-old.yaml" in said
    assert kubernetes.main(["--write"]) == 0
    assert kubernetes.main([]) == 0


def test_every_value_is_described() -> None:
    rows = values_table.rows(values_table.VALUES.read_text(encoding="utf-8"))
    assert not [row.key for row in rows if not row.meaning]
    keys = [row.key for row in rows]
    assert {"namePrefix", "settings", "api.autoscaling.inFlight", "models", "redis.external.address"} <= set(keys)


def test_a_value_without_a_comment_is_found() -> None:
    rows = values_table.rows("# Known.\nknown: 1\n# A group.\ngroup:\n  # Its part.\n  part: [a]\n  other: null\n")
    assert rows == [("known", "1", "Known."), ("group.part", '["a"]', "Its part."), ("group.other", "null", "")]


def test_the_schema_is_valid_and_closed() -> None:
    schema = values_schema.schema()
    jsonschema.Draft202012Validator.check_schema(schema)

    def open_objects(node: object, path: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        found = [path] if "properties" in node and node.get("additionalProperties") is not False else []
        return found + [each for key, value in node.items() for each in open_objects(value, f"{path}.{key}")]

    assert not open_objects(schema, "")
    defaults = yaml.safe_load(values_table.VALUES.read_text(encoding="utf-8"))
    assert set(schema["properties"]) == set(defaults) | {"global"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_files_of_values_render(path: Path) -> None:
    made = objects(values=(path,))
    names = [(each["kind"], each["metadata"]["name"]) for each in made]
    assert len(names) == len(set(names))
    for each in made:
        assert each["kind"] == "PriorityClass" or each["metadata"]["namespace"] == "millstream"
        assert "null" not in each["metadata"]["name"]


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("apii.replicas=3", "apii"),
        ("api.replica=3", "replica"),
        ("api.replicas=many", "replicas"),
        ("settings.LOG_LEVEL=LOUD", "LOG_LEVEL"),
        ("settings.MAX_BACKLOGS=5", "MAX_BACKLOGS"),
        ("settings.MAX_DELIVERIES=0", "MAX_DELIVERIES"),
        ("settings.REDIS_URL=redis://elsewhere", "REDIS_URL"),
        ("images.tag=not a tag", "tag"),
        ("redis.appendfsync=never", "appendfsync"),
        ("redis.storage=lots", "storage"),
        ("postgres.image=postgres", "image"),
        ("autoscaling.mode=magic", "mode"),
        ("api.resources.limits.memory=null", "memory"),
        ("models.sentiment.versions={Sentiment}", "versions"),
        ("models.sentiment.versions={group:n*}", "a group is named whole"),
        ("models.sentiment.image=ours", "image"),
        ("models.sentiment.gpu=half", "gpu"),
        ("models.sentiment.gpu=17", "gpu"),
        ("models.Sentiment.versions={sentiment-analysis:1.0.0}", "Sentiment"),
        ("models.more.replicas=1", "versions"),
        ("namePrefix=Ml", "namePrefix"),
        # relations between values
        ("api.autoscaling.minReplicas=11", "minReplicas (11) is above maxReplicas (10)"),
        ("models.sentiment.autoscaling.minReplicas=9", "models.sentiment.autoscaling: minReplicas (9)"),
        ("settings.DRAIN_DELAY_S=30", "DRAIN_DELAY_S (30) must be below SHUTDOWN_GRACE_S (30)"),
        ("models.more.versions={embeddings:1.0.0}", "which models.more serves too"),
        ("models.more.versions={embed*}", "embeddings:1.0.0, which models.more serves too"),
        ("models.sentiment.versions={sentiment-analysis,!*:1.1.0}", "test.version: sentiment-analysis:1.1.0"),
        ("test.version=embeddings:9.0.0", "embeddings:9.0.0 is served by no entry of models"),
        ("postgres.maxConnections=50", "postgres.maxConnections (50) is too few"),
        ("redis.enabled=false", "redis.external."),
        ("postgres.enabled=false", "postgres.external.existingSecret: name the Secret"),
        ("prometheus.enabled=false", "grafana.prometheusUrl"),
    ],
)
def test_a_bad_value_is_refused(option: str, words: str) -> None:
    with pytest.raises(RenderingFailed) as refused:
        render(f"--set={option}")
    assert words in str(refused.value)


def test_a_long_release_name_is_refused() -> None:
    with pytest.raises(RenderingFailed, match="give a prefix of 40 characters at most"):
        render(release="a-release-with-a-name-of-more-than-forty-characters")


def test_settings_reach_their_pods_and_replace_them() -> None:
    own = "--set=api.settings.MAX_BODY_BYTES=3000000"
    before, after = objects(), objects("--set=settings.MAX_BACKLOG=4000000", own)
    assert named(after, "ConfigMap", "millstream-config")["data"]["MAX_BACKLOG"] == "4000000"
    api = named(after, "Deployment", "millstream-api")
    assert {"name": "MAX_BODY_BYTES", "value": "3000000"} in container(api)["env"]
    stamps = [
        named(made, "Deployment", "millstream-persister")["spec"]["template"]["metadata"]["annotations"]
        for made in (before, after)
    ]
    assert stamps[0]["checksum/config"] != stamps[1]["checksum/config"]
    jobs = [next(each for each in made if each["kind"] == "Job")["metadata"]["name"] for made in (before, after)]
    assert jobs[0] != jobs[1]


def test_a_worker_with_a_gpu_asks_for_it_and_may_go_where_it_is() -> None:
    taint = {"key": "example.com/dear", "operator": "Exists"}
    made = objects("--set=models.embeddings.gpu=1", f"--set-json=models.embeddings.tolerations={json.dumps([taint])}")
    worker, other = (named(made, "Deployment", f"millstream-worker-{name}") for name in ("embeddings", "sentiment"))
    asked = container(worker)["resources"]
    assert asked["requests"]["nvidia.com/gpu"] == asked["limits"]["nvidia.com/gpu"] == "1"
    assert asked["limits"]["memory"] == "2Gi"
    assert worker["spec"]["template"]["spec"]["tolerations"] == [
        taint,
        {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
    ]
    assert worker["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 1, "maxSurge": 0}
    assert "/inference-worker-cuda:" in container(worker)["image"]
    assert "nvidia.com/gpu" not in json.dumps(other) and "/inference-worker:" in container(other)["image"]
    own = objects("--set=models.embeddings.gpu=1", "--set=models.embeddings.image=example.com/mine:1")
    assert container(named(own, "Deployment", "millstream-worker-embeddings"))["image"] == "example.com/mine:1"


def test_a_worker_without_torch_has_an_image_of_its_own() -> None:
    made = objects("--set=models.sentiment.torch=false")
    images = [
        container(named(made, "Deployment", f"millstream-worker-{name}"))["image"].rpartition("/")[2].partition(":")[0]
        for name in ("sentiment", "embeddings")
    ]
    assert images == ["inference-worker-openvino", "inference-worker"]


def test_an_upgrade_of_the_chart_leaves_the_stores_alone() -> None:
    for name in ("postgres", "redis"):
        template = named(objects(), "StatefulSet", f"millstream-{name}")["spec"]["template"]
        assert "1.0.0" not in str(template["metadata"])


def test_the_drain_of_a_component_fits_its_own_settings() -> None:
    made = objects("--set-json=api.settings.SHUTDOWN_GRACE_S=90.5", "--set=api.preStopSeconds=7")
    grace = {
        name: named(made, "Deployment", f"millstream-{name}")["spec"]["template"]["spec"][
            "terminationGracePeriodSeconds"
        ]
        for name in ("api", "persister")
    }
    assert grace == {"api": 91 + 7 + 10, "persister": 30 + 10}


def test_redis_gets_twice_its_maxmemory() -> None:
    redis = container(named(objects("--set=redis.maxmemoryMiB=2048"), "StatefulSet", "millstream-redis"))
    assert redis["resources"]["limits"]["memory"] == f"{2 * 2048 + 256}Mi"
    command = " ".join(redis["args"])
    for option in ("--maxmemory 2048mb", "--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert option in command


def own_metric(made: list[Object], worker: str) -> Object:
    """What a worker is scaled on besides CPU."""
    own, cpu = named(made, "HorizontalPodAutoscaler", worker)["spec"]["metrics"]
    assert cpu["resource"]["name"] == "cpu" and own["external"]["target"] == {
        "type": "AverageValue",
        "averageValue": "200",
    }
    return own["external"]["metric"]  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "versions",
    [
        "{embeddings:1.0.0,zero-shot-classification:1.1.0}",
        "{embeddings}",
        "{emb*,zero-shot-classification}",
        "{group:nlp,!*-slow}",
    ],
)
def test_what_a_selector_cannot_name_is_added_up_by_a_rule(versions: str) -> None:
    made = objects(f"--set=models.embeddings.versions={versions}", "--set=prometheusRule.enabled=true")
    worker = "millstream-worker-embeddings"
    assert own_metric(made, worker) == {
        "name": "millstream_worker_queue_depth",
        "selector": {"matchLabels": {"worker": worker}},
    }
    rule = rule_of(load_rules(), "external", "millstream_worker_queue_depth")
    (recorded,) = [series for series in RECORDED if rule.names(series)]
    asked = rule.external_query(recorded, "millstream", {"worker": worker})
    assert asked == f'max by (worker) ({recorded}{{worker="{worker}",namespace="millstream"}})'
    assert container(named(made, "Deployment", worker))["env"][0] == {"name": "WORKER_MODELS", "value": versions[1:-1]}
    file = yaml.safe_load(named(made, "ConfigMap", "millstream-prometheus-rules")["data"]["workers.yml"])
    assert file == named(made, "PrometheusRule", "millstream-workers")["spec"]
    (group,) = file["groups"]
    assert [each.get("labels") for each in group["rules"]] == [None, {"worker": worker}]


def test_a_selector_names_the_versions_where_it_can() -> None:
    made = objects()
    assert own_metric(made, "millstream-worker-sentiment") == {
        "name": "millstream_model_queue_depth",
        "selector": {
            "matchExpressions": [
                {"key": "model", "operator": "In", "values": ["sentiment-analysis"]},
                {"key": "version", "operator": "In", "values": ["1.0.0", "1.1.0"]},
            ]
        },
    }
    assert "workers.yml" not in named(made, "ConfigMap", "millstream-prometheus-rules")["data"]


SERVED = [
    ("sentiment-analysis", "1.0.0", "nlp"),
    ("sentiment-analysis", "1.1.0", "nlp"),
    ("sentiment-slow", "1.0.0", "nlp"),
    ("sentiment", "2.0.0", None),
    ("embeddings", "1.0.0", "vectors"),
    ("embeddings", "1x0x0", "vectors"),
]


def version_of(model: str, version: str, group: str | None) -> ServedVersion:
    """One of these."""
    return ServedVersion(model=model, task="m:T", version=Version(version=version, artifact="none"), group=group)


@pytest.mark.skipif(
    shutil.which("promtool") is None, reason="no promtool is installed (Debian: apt install prometheus)"
)
@pytest.mark.parametrize(
    "versions",
    [
        "*",
        "sentiment",
        "sentiment-*",
        "embeddings:1.0.0,sentiment:2.0.0",
        "sentiment?analysis:1.?.0,embeddings",
        "*:1.0.0",
        "*1.0.0",
        "group:nlp",
        "group:nlp,embeddings:1.0*,!sentiment-slow",
        "sentiment*,!*:1.1.0,!group:vectors",
        "!group:nlp",
        "!embeddings,!sentiment:2.0.0",
    ],
)
def test_the_rule_adds_up_what_the_worker_selects(versions: str, tmp_path: Path) -> None:
    """Each version has a depth that is a power of two, half of it of each priority: the sum tells which are in it."""
    selected = parse_selection(versions)
    models = dict.fromkeys(DEFAULT_MODELS) | {"all": {"versions": versions.split(",")}}
    first = next(each for each in SERVED if selected.has(version_of(*each)))
    made = objects(f"--set-json=models={json.dumps(models)}", f"--set=test.version={first[0]}:{first[1]}")
    data = named(made, "ConfigMap", "millstream-prometheus-rules")["data"]
    expected, series = 0, []
    for power, (model, version, group) in enumerate(SERVED, start=1):
        expected += 2**power * selected.has(version_of(model, version, group))
        labels = f'namespace="millstream",stream="requests/{model}/{version}"'
        for pod, priority in (("a", "interactive"), ("b", "interactive"), ("a", "batch")):
            name = f'millstream_queue_depth{{{labels},pod="{pod}",priority="{priority}"}}'
            series.append({"series": name, "values": f"{2 ** (power - 1)}x8"})
        series.append({"series": series[-1]["series"].replace('"millstream"', '"another"'), "values": "500x8"})
        if group:
            name = f'millstream_model_group{{namespace="millstream",pod="a",model="{model}",group="{group}"}}'
            series.append({"series": name, "values": "1x8"})
    series = list({each["series"]: each for each in series}.values())
    labels = '{namespace="millstream",worker="millstream-worker-all"}'
    sample = {"labels": f"namespace_worker:millstream_queue_depth:sum{labels}", "value": expected}
    test = {
        "interval": "15s",
        "input_series": series,
        "promql_expr_test": [
            {"expr": "namespace_worker:millstream_queue_depth:sum", "eval_time": "2m", "exp_samples": [sample]}
        ],
    }
    names = [path.name for path in (CHART / "files" / "rules").glob("recording.yml")] + ["workers.yml"]
    for name in names:
        (tmp_path / name).write_text(data[name], encoding="utf-8")
    order = ["millstream-recorded-scaling", "millstream-recorded-workers"]
    whole = {"rule_files": names, "evaluation_interval": "15s", "group_eval_order": order, "tests": [test]}
    (tmp_path / "test.yml").write_text(json.dumps(whole), encoding="utf-8")
    command = ["promtool", "test", "rules", str(tmp_path / "test.yml")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_keda_goes_by_the_sum_of_the_streams_that_are_used() -> None:
    made = objects("--set=autoscaling.mode=keda", "--set=settings.KEY_PREFIX=ours:")
    assert not [each for each in made if each["kind"] == "HorizontalPodAutoscaler"]
    keys = Keys("ours:")
    worker = named(made, "ScaledObject", "millstream-worker-sentiment")["spec"]
    assert worker["minReplicaCount"] == 0
    *streams, cpu = worker["triggers"]
    assert cpu["type"] == "cpu"
    assert [each["metadata"]["stream"] for each in streams] == [
        keys.requests(*queue) for version in ("1.0.0", "1.1.0") for queue in queues_of("sentiment-analysis", version)
    ]
    assert worker["advanced"]["scalingModifiers"] == {
        "formula": " + ".join(each["name"] for each in streams),
        "target": "200",
        "metricType": "AverageValue",
    }
    assert len({each["name"] for each in streams}) == 4
    # With a consumer group KEDA would ask for what is pending or lagging, and miss the rest.
    assert all(set(each["metadata"]) == {"address", "stream", "streamLength"} for each in streams)
    persister = named(made, "ScaledObject", "millstream-persister")["spec"]
    assert persister["minReplicaCount"] == 1
    assert persister["triggers"][0]["metadata"]["stream"] == keys.results
    authentication = named(made, "TriggerAuthentication", "millstream-redis")["spec"]["secretTargetRef"]
    assert authentication == [
        {"parameter": "username", "name": "millstream-redis-scaler", "key": "USERNAME"},
        {"parameter": "password", "name": "millstream-secrets", "key": "REDIS_SCALER_PASSWORD"},
    ]
    assert named(made, "Secret", "millstream-redis-scaler")["stringData"] == {"USERNAME": SCALER}
    redis = named(made, "StatefulSet", "millstream-redis")["spec"]["template"]["spec"]["containers"][0]["env"]
    assert "REDIS_SCALER_PASSWORD" in {each["name"] for each in redis}


KINDS = {  # of workers; those of KEDA that know their streams by name, and how many
    "one": (["a:1"], 2),
    "several": (["b:1", "c:2"], 4),
    "model": (["d"], 0),
    "pattern": (["e*"], 0),
    "group": (["group:nlp", "!*-slow"], 0),
}
OF_EACH_KIND = dict.fromkeys(DEFAULT_MODELS) | {key: {"versions": versions} for key, (versions, _) in KINDS.items()}
WORKERS = f"--set-json=models={json.dumps(OF_EACH_KIND)}"


def test_each_kind_of_worker_goes_by_the_sum_of_what_waits_for_it_with_keda() -> None:
    made = objects("--set=autoscaling.mode=keda", WORKERS)
    for key, (_, streams) in KINDS.items():
        spec = named(made, "ScaledObject", f"millstream-worker-{key}")["spec"]
        *own, cpu = spec["triggers"]
        assert cpu["type"] == "cpu"
        if streams:
            assert [each["type"] for each in own] == ["redis-streams"] * streams
            assert spec["advanced"]["scalingModifiers"]["formula"] == " + ".join(each["name"] for each in own)
        else:
            (query,) = [each["metadata"]["query"] for each in own]
            assert query.startswith("namespace_worker:millstream_queue_depth:sum{") and f"worker-{key}" in query
            assert "scalingModifiers" not in spec["advanced"], "the rule has added them up"


def test_each_kind_of_worker_goes_by_the_sum_of_what_waits_for_it_with_an_hpa() -> None:
    made = objects(WORKERS)
    names = {key: own_metric(made, f"millstream-worker-{key}")["name"] for key in KINDS}
    assert names.pop("one") == "millstream_model_queue_depth", "recorded as the sum of both priorities"
    assert set(names.values()) == {"millstream_worker_queue_depth"}


def test_keda_asks_prometheus_for_what_patterns_select() -> None:
    options = ["--set=autoscaling.mode=keda", "--set=models.sentiment.versions={sentiment-*}"]
    spec = named(objects(*options), "ScaledObject", "millstream-worker-sentiment")["spec"]
    assert "scalingModifiers" not in spec["advanced"]
    assert spec["triggers"][0] == {
        "type": "prometheus",
        "metricType": "AverageValue",
        "metadata": {
            "serverAddress": "http://millstream-prometheus.millstream.svc:9090",
            "query": 'namespace_worker:millstream_queue_depth:sum{namespace="millstream",'
            'worker="millstream-worker-sentiment"}',
            "threshold": "200",
            "ignoreNullValues": "false",
        },
    }
    with pytest.raises(RenderingFailed, match="models.sentiment: KEDA asks Prometheus for the depth of what patterns"):
        render(*options, "--set=prometheus.enabled=false", "--set=grafana.enabled=false")


def test_a_worker_may_have_an_image_of_its_own() -> None:
    made = objects("--set=models.sentiment.image=registry.example.com/ours:1")
    images = {
        each["metadata"]["name"].rsplit("-", 1)[1]: container(each)["image"]
        for each in made
        if each["kind"] == "Deployment" and "worker" in each["metadata"]["name"]
    }
    assert images.pop("sentiment") == "registry.example.com/ours:1"
    assert len(set(images.values())) == 1 and "inference-worker:" in images["embeddings"]


def test_what_keda_took_to_zero_comes_back_when_keda_goes() -> None:
    made = objects("--set=autoscaling.mode=keda")
    scaled = [each["spec"] for each in made if each["kind"] == "ScaledObject"]
    assert scaled and all(each["advanced"]["restoreToOriginalReplicaCount"] is True for each in scaled)


STORES = ("postgres", "redis", "prometheus", "grafana")


def rank(made: list[Object], workload: Object) -> int:
    """The priority of its pods."""
    name = workload["spec"]["template"]["spec"]["priorityClassName"]
    return int(named(made, "PriorityClass", name)["value"])


@pytest.mark.parametrize("path", [None, *FILES], ids=lambda path: path.stem if path else "defaults")
def test_workers_give_way_to_services_and_these_to_stores(path: Path | None) -> None:
    made = objects("--set=api.priorityClassName=", values=(path,) if path else ())
    ranks: dict[str, set[int]] = {}
    for each in (each for each in made if each["kind"] in ("Deployment", "StatefulSet", "Job")):
        part = each["metadata"]["labels"]["app.kubernetes.io/component"]
        level = "stores" if part in STORES else "workers" if part == "worker" else "services"
        ranks.setdefault(level, set()).add(rank(made, each))
    assert max(ranks["workers"]) < min(ranks["services"])
    assert max(ranks["services"]) < min(ranks.get("stores", {10_000}))
    assert ranks["workers"] == {0}, "as pods without a class: they push nobody else out"


def test_priority_classes_of_two_releases_do_not_meet() -> None:
    names = [
        {each["metadata"]["name"] for each in objects(f"--namespace={namespace}") if each["kind"] == "PriorityClass"}
        for namespace in ("blue", "green")
    ]
    assert len(names[0]) == 3 and not names[0] & names[1]


def test_without_rights_on_the_cluster_there_are_no_priority_classes() -> None:
    made = objects("--set=priorityClasses.create=false", "--set=redis.priorityClassName=ours")
    assert not [each for each in made if each["kind"] == "PriorityClass"]
    redis = named(made, "StatefulSet", "millstream-redis")["spec"]["template"]["spec"]
    postgres = named(made, "StatefulSet", "millstream-postgres")["spec"]["template"]["spec"]
    assert redis["priorityClassName"] == "ours" and "priorityClassName" not in postgres


@pytest.mark.parametrize("name", STORES)
def test_stores_go_where_they_are_told(name: str) -> None:
    place = f'{{"nodeSelector": {{"disk": "ssd"}}, "tolerations": [{{"key": "{name}", "operator": "Exists"}}]}}'
    made = objects(f"--set-json={name}={place}", "--set=images.pullSecrets={ours}")
    kind = "Deployment" if name == "grafana" else "StatefulSet"
    spec = named(made, kind, f"millstream-{name}")["spec"]["template"]["spec"]
    assert spec["nodeSelector"] == {"disk": "ssd"} and spec["tolerations"][0]["key"] == name
    assert spec["imagePullSecrets"] == [{"name": "ours"}]


def test_room_is_added_up() -> None:
    container = {"resources": {"requests": {"cpu": "250m", "memory": "512Mi"}}}
    pods = {"spec": {"containers": [container]}}
    made: list[Object] = [
        {"kind": "Deployment", "metadata": {"name": "a"}, "spec": {"template": pods}},
        {"kind": "StatefulSet", "metadata": {"name": "b"}, "spec": {"replicas": 3, "template": pods}},
        {
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "a"},
            "spec": {"scaleTargetRef": {"name": "a"}, "minReplicas": 2, "maxReplicas": 5},
        },
        {"kind": "Service", "metadata": {"name": "a"}},
    ]
    assert room.total(made, "minReplicas") == (1.25, 2.5)
    assert room.total(made, "maxReplicas") == (2.0, 4.0)


def test_staging_fits_the_machine_that_it_names_with_the_most_replicas() -> None:
    """4 CPUs and 8 GiB, of which the cluster itself takes up to one of each."""
    text = (CHART / "values-staging.yaml").read_text(encoding="utf-8")
    assert "4 CPUs and 8 GiB" in text
    _, most = room.requested("values-staging.yaml")
    assert most.cpus <= 3 and most.gib <= 7


def test_stores_of_the_users_replace_those_of_the_chart() -> None:
    made = objects(values=(CHART / "ci" / "keda.yaml",))
    assert not [each for each in made if each["kind"] == "StatefulSet"]
    sources = {each["name"]: each for each in container(named(made, "Deployment", "millstream-api"))["env"]}
    assert sources["REDIS_URL"]["valueFrom"]["secretKeyRef"] == {"name": "millstream-redis", "key": "REDIS_URL"}
    assert sources["DATABASE_URL"]["valueFrom"]["secretKeyRef"] == {
        "name": "millstream-database",
        "key": "DATABASE_URL",
    }
    policy = named(made, "NetworkPolicy", "millstream-api")["spec"]
    assert [each["ports"] for each in policy["egress"]] == [[{"port": 6380}], [{"port": 5432}]]


def test_the_prometheus_operator_is_told_the_jobs_and_the_rules() -> None:
    made = objects(values=(CHART / "ci" / "keda.yaml",))
    endpoints = [each["spec"]["podMetricsEndpoints"][0] for each in made if each["kind"] == "PodMonitor"]
    jobs = {relabeling["replacement"] for each in endpoints for relabeling in each["relabelings"]}
    assert jobs == {"gateway", "worker", "persister"}
    rules = {each["metadata"]["name"]: each["spec"] for each in made if each["kind"] == "PrometheusRule"}
    for path in (CHART / "files" / "rules").glob("*.yml"):
        assert rules[f"millstream-{path.stem}"] == yaml.safe_load(path.read_text(encoding="utf-8"))


def test_nobody_is_let_in_where_nobody_is_named() -> None:
    alone = ("--set=prometheus.enabled=false", "--set=grafana.enabled=false")
    made = objects("--set-json=networkPolicy.monitoringNamespaces=[]", *alone)
    worker = named(made, "NetworkPolicy", "millstream-worker")["spec"]
    assert not worker["ingress"]


def test_there_is_no_default_password() -> None:
    first, second = (named(objects(), "Secret", "millstream-secrets")["data"] for _ in range(2))
    assert set(first) == {*dotenv.SECRETS, "REDIS_SCALER_PASSWORD", "INPUT_DIGEST_SECRET"}
    assert not set(first.values()) & set(second.values())


def test_the_smoke_test_is_a_hook_and_a_program() -> None:
    pod = named(objects(), "Pod", "millstream-smoke")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    _, _, code, *arguments = pod["spec"]["containers"][0]["command"]
    what = ["--model=sentiment-analysis:1.1.0", "--patience=240", "--or-asks"]
    assert arguments == ["http://millstream-api-service:8000", *what]
    assert ast.dump(ast.parse(code)) == ast.dump(ast.parse((CHART / "files" / "smoke.py").read_text(encoding="utf-8")))


def test_the_gateway_alone_has_its_secrets_from_the_secret_which_may_lack_them() -> None:
    made = objects()
    for name in ("API_KEY_PEPPER", "JWT_SECRET", "INPUT_DIGEST_SECRET", "CACHE_SECRET"):
        reference = {"secretKeyRef": {"name": "millstream-secrets", "key": name, "optional": True}}
        told = {
            workload["metadata"]["name"]: each["valueFrom"]
            for workload in made
            if workload["kind"] in ("Deployment", "StatefulSet", "Job")
            for each in container(workload).get("env", [])
            if each["name"] == name
        }
        assert told == {"millstream-api": reference}, name


def test_the_smoke_test_is_told_who_asks_by_a_secret() -> None:
    pod = named(objects("--set=test.tokenSecret=smoke"), "Pod", "millstream-smoke")
    reference = {"secretKeyRef": {"name": "smoke", "key": "token"}}
    assert pod["spec"]["containers"][0]["env"] == [{"name": "MILLSTREAM_TOKEN", "valueFrom": reference}]


@pytest.mark.parametrize(
    ("url", "port"),
    [("https://issuer.example/jwks", 443), ("https://issuer.example:8443/jwks", 8443)],
)
def test_the_gateway_reaches_the_issuer_of_tokens(url: str, port: int) -> None:
    def egress(*options: str) -> list[dict[str, Any]]:
        return list(named(objects(*options), "NetworkPolicy", "millstream-api")["spec"]["egress"])

    assert egress(f"--set=settings.JWKS_URL={url}") == [*egress(), {"ports": [{"port": port}]}]


def test_the_persister_reaches_who_is_called_back() -> None:
    def egress(*options: str) -> list[dict[str, Any]]:
        return list(named(objects(*options), "NetworkPolicy", "millstream-persister")["spec"]["egress"])

    assert egress("--set=settings.CALLBACK_HOSTS=hooks.example") == [*egress(), {"ports": [{"port": 443}]}]
