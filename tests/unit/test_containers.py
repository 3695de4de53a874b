"""What must be true of compose.yaml and of the Dockerfile, and which no tool of theirs knows. Each rule is a function
over the parsed file, with an example that it must catch."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts import settings_table
from scripts.stack import dotenv
from shared.service.catalogue_file import load_catalogue
from shared.service.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
PROMETHEUS: dict[str, Any] = yaml.safe_load(
    (ROOT / "monitoring" / "prometheus.compose.yml").read_text(encoding="utf-8")
)
# What the image decides: where things are in it, and on which ports it listens.
DECIDED_BY_THE_IMAGE = {"MODEL_CATALOGUE", "GATEWAY_HOST", "GATEWAY_PORT", "ADMIN_HOST", "ADMIN_PORT"} | {
    f"{service}_METRICS_{what}" for service in ("WORKER", "PERSISTER") for what in ("HOST", "PORT")
}
# What the stack decides: whose roles are which in its own Postgres, and that passwords come by the environment.
DECIDED_BY_THE_STACK = {"GATEWAY_ROLE", "PERSISTER_ROLE"}
NOT_USED = {"migrate": {"REDIS_URL", "REDIS_URL_PASSWORD"}}  # it has no business there
PUBLISHED = {"gateway": "8000", "prometheus": "9090", "grafana": "3000"}
ONE_SHOT = ("migrate", "models")

Compose = dict[str, Any]
Rule = Callable[[Compose], Iterator[str]]


def kind_of(service: str) -> str:
    """The service as the table of settings calls it."""
    return service.partition("-")[0]


def settings_are_passed_on(compose: Compose) -> Iterator[str]:
    """Every setting of a service can be given in .env."""
    for kind, settings in settings_table.SERVICES:
        names = {name.upper() for name in settings.model_fields if not name.endswith("_file") or name == "jwt_key_file"}
        wanted = names - DECIDED_BY_THE_IMAGE - DECIDED_BY_THE_STACK - NOT_USED.get(kind, set())
        for name, service in compose["services"].items():
            if kind_of(name) == kind:
                yield from (f"{name}: {missing}" for missing in sorted(wanted - service["environment"].keys()))


def passwords_have_no_default(compose: Compose) -> Iterator[str]:
    """Every password is required, in the form that says what to do."""
    text = yaml.safe_dump(compose, width=10_000)
    for name in dotenv.SECRETS:
        uses = re.findall(rf"\$\{{{name}[^}}]*\}}", text)
        if not uses:
            yield f"{name} is not used"
        yield from (f"{use}" for use in uses if use != f"${{{name}:?run make env}}")


def who_asks_is_left_open_on_loopback_alone(compose: Compose) -> Iterator[str]:
    """AUTH=off is taken for intended only where the gateway is published on loopback."""
    gateway = compose["services"]["gateway"]
    if gateway["environment"].get("AUTH_OFF_IS_INTENDED"):
        yield from (f"published: {port}" for port in gateway["ports"] if not port.startswith("127.0.0.1:"))


def no_password_is_an_argument(compose: Compose) -> Iterator[str]:
    """Arguments of a process can be read by everybody on the machine."""
    for name, service in compose["services"].items():
        for key in ("command", "entrypoint", "healthcheck"):
            if re.search(
                r"\$\{\w*(?:PASSWORD|TOKEN|_URL)\b|--(?:pass|requirepass|askpass)\b| -a ", str(service.get(key))
            ):
                yield f"{name}: {key}"


def only_loopback_is_published(compose: Compose) -> Iterator[str]:
    """Three services, on 127.0.0.1."""
    for name, service in compose["services"].items():
        expected = PUBLISHED.get(name)
        for port in service.get("ports", []):
            if expected is None or not (port.startswith("127.0.0.1:") and port.endswith(f":{expected}")):
                yield f"{name}: {port}"


def stores_have_no_way_out(compose: Compose) -> Iterator[str]:
    """Only the internal network leads to them."""
    if not (compose["networks"]["backend"] or {}).get("internal"):
        yield "backend is not internal"
    for name in ("postgres", "redis"):
        if list(compose["services"][name]["networks"]) != ["backend"]:
            yield name


def containers_are_confined(compose: Compose) -> Iterator[str]:
    """A root that is read-only, no capabilities, bounded CPU, memory, processes and logs."""
    for name, service in compose["services"].items():
        held = {
            "read_only": service.get("read_only") is True,
            "cap_drop": service.get("cap_drop") == ["ALL"],
            "no-new-privileges": service.get("security_opt") == ["no-new-privileges:true"],
            "cpus": "cpus" in service,
            "mem_limit": "mem_limit" in service,
            "pids_limit": 0 < service.get("pids_limit", 0) <= 4096,
            "logging": "max-size" in service.get("logging", {}).get("options", {}),
        }
        yield from (f"{name}: {what}" for what, holds in held.items() if not holds)


def services_scale_and_start_again(compose: Compose) -> Iterator[str]:
    """No name is fixed, no profile hides one, and what ends is started again."""
    for name, service in compose["services"].items():
        yield from (f"{name}: {key}" for key in ("container_name", "profiles") if key in service)
        if service["restart"] != ("no" if name in ONE_SHOT else "unless-stopped"):
            yield f"{name}: restart"


def the_grace_is_long_enough(compose: Compose) -> Iterator[str]:
    """Docker waits longer than the service takes to drain by itself."""
    grace_s = Settings.model_fields["shutdown_grace_s"].default
    for name, service in compose["services"].items():
        if name in PUBLISHED and name != "gateway" or name == "alertmanager":
            continue
        if int(service.get("stop_grace_period", "10s").removesuffix("s")) <= grace_s:
            yield name


def every_version_has_one_worker(compose: Compose) -> Iterator[str]:
    """The workers share the catalogue out among them, and leave nothing over."""
    catalogue = load_catalogue(ROOT / "models" / "models.toml")
    workers = [each for name, each in compose["services"].items() if kind_of(name) == "worker"]
    served = [label.label for each in workers for label in catalogue.select(each["environment"]["WORKER_MODELS"])]
    if sorted(served) != sorted(each.label for each in catalogue.select("*")):
        yield f"served: {sorted(served)}"


RULES: tuple[Rule, ...] = (
    settings_are_passed_on,
    passwords_have_no_default,
    who_asks_is_left_open_on_loopback_alone,
    no_password_is_an_argument,
    only_loopback_is_published,
    stores_have_no_way_out,
    containers_are_confined,
    services_scale_and_start_again,
    the_grace_is_long_enough,
    every_version_has_one_worker,
)


def changed(path: str, value: object) -> Compose:
    """The compose file with one thing different."""
    bad = copy.deepcopy(COMPOSE)
    *folders, last = path.split("/")
    place = bad
    for each in folders:
        place = place[each]
    place[last] = value
    return bad


KNOWN_BAD: tuple[tuple[Rule, Compose], ...] = (
    (settings_are_passed_on, changed("services/persister/environment", {"REDIS_URL": "redis://redis"})),
    (passwords_have_no_default, changed("services/redis/environment", {"REDISCLI_AUTH": "${REDIS_PASSWORD:-secret}"})),
    (who_asks_is_left_open_on_loopback_alone, changed("services/gateway/ports", ["0.0.0.0:8000:8000"])),
    (no_password_is_an_argument, changed("services/redis/command", "redis-server --requirepass ${REDIS_PASSWORD}")),
    (no_password_is_an_argument, changed("services/redis/command", ["redis-server", "--requirepass", "$$PASS"])),
    (no_password_is_an_argument, changed("services/redis/healthcheck/test", ["CMD-SHELL", "redis-cli -a x ping"])),
    (only_loopback_is_published, changed("services/redis/ports", ["127.0.0.1:6379:6379"])),
    (only_loopback_is_published, changed("services/gateway/ports", ["8000:8000"])),
    (stores_have_no_way_out, changed("services/redis/networks", ["frontend", "backend"])),
    (stores_have_no_way_out, changed("networks/backend", None)),
    (containers_are_confined, changed("services/grafana/read_only", False)),
    (containers_are_confined, changed("services/gateway/logging", {})),
    (containers_are_confined, changed("services/gateway/pids_limit", -1)),
    (services_scale_and_start_again, changed("services/gateway/container_name", "gateway")),
    (services_scale_and_start_again, changed("services/persister/restart", "no")),
    (the_grace_is_long_enough, changed("services/gateway/stop_grace_period", "10s")),
    (every_version_has_one_worker, changed("services/worker-embeddings/environment", {"WORKER_MODELS": "embeddings"})),
)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_compose_file_keeps_to(rule: Rule) -> None:
    assert list(rule(COMPOSE)) == []


@pytest.mark.parametrize(("rule", "bad"), KNOWN_BAD, ids=lambda each: getattr(each, "__name__", None))
def test_a_known_bad_compose_file_is_caught(rule: Rule, bad: Compose) -> None:
    assert list(rule(bad)) != []


def test_every_rule_has_a_known_bad_example() -> None:
    assert {rule for rule, _ in KNOWN_BAD} == set(RULES)


def test_prometheus_looks_for_every_service_by_its_name() -> None:
    names = {
        name
        for job in PROMETHEUS["scrape_configs"]
        for found in job.get("dns_sd_configs", [])
        for name in found["names"]
    }
    wanted = {kind for kind, _ in settings_table.SERVICES} - {"migrate"}
    assert names == {name for name in COMPOSE["services"] if kind_of(name) in wanted}


def test_the_gateway_is_also_called_api() -> None:
    assert COMPOSE["services"]["gateway"]["networks"]["frontend"]["aliases"] == ["api"]


def test_images_run_as_a_number_and_leave_the_first_process_to_an_init() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    images = re.split(r"^FROM .* AS ", dockerfile, flags=re.MULTILINE)
    commands = [each for each in images if re.search(r"^CMD ", each, re.MULTILINE)]
    assert len(commands) == 5
    assert all(
        "USER 10001:10001" in each and re.search(r"^(?:HEALTHCHECK|    CMD)", each, re.MULTILINE) for each in commands
    )
    assert 'ENTRYPOINT ["tini", "--"]' in dockerfile
    assert not re.search(r"^# syntax=|<<", dockerfile, re.MULTILINE)
