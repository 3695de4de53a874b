"""What the services log: the whole life of a prediction by its id, and never what it says."""

from __future__ import annotations

import json
from typing import Any

import aiohttp

from tests.e2e.conftest import Start
from tests.processes import Service
from tests.waiting import eventually

SECRET = "a-very-private-sentence"
TRACE = f"00-{'4bf92f3577b34da6a3ce929d0e0e4736'}-00f067aa0ba902b7-01"


def lines(service: Service) -> list[dict[str, Any]]:
    return [json.loads(line) for line in service.log.read_text().splitlines()]


async def test_what_a_model_raises_is_in_the_log_by_id_and_told_only_if_that_is_wanted(start: Start) -> None:
    gateway = start("gateway")
    settings: dict[str, Any] = {
        "WORKER_MODELS": "echo",
        "LOG_FORMAT": "json",
        "MAX_DELIVERIES": "1",
        "CLAIM_INTERVAL_MS": "100",
    }
    told = {"staging": "the model failed; the worker's log has the reason under this id", "local": "ValueError: cannot"}
    async with aiohttp.ClientSession(gateway.url) as session:
        for environment, detail in told.items():
            worker = start("inference_worker", ENVIRONMENT=environment, **settings)
            async with session.post("/api/v1/predict", json={"model": "echo", "text": f"quote {SECRET}"}) as answer:
                problem = await answer.json()
            assert answer.status == 500 and detail in problem["detail"], problem
            async with session.post("/api/v1/predict", json={"model": "echo", "text": f"kill {SECRET}"}) as answer:
                assert answer.status == 500  # dead-lettered
            assert worker.stop() == 0
            own = [line for line in lines(worker) if line.get("prediction_id") == problem["prediction_id"]]
            (failed,) = [line for line in own if line["event"] == "model failed"]
            assert failed["detail"] == "ValueError: cannot read [the text]"
            (finished,) = [line for line in own if line["event"] == "finished"]
            assert "cannot read" not in finished["error"]
            assert SECRET not in worker.log.read_text()
            assert "request dead-lettered" in worker.log.read_text()


async def test_one_id_greps_its_whole_life_out_of_all_logs_and_no_payload(start: Start) -> None:
    settings: dict[str, Any] = {"LOG_FORMAT": "json", "LOG_LEVEL": "DEBUG"}
    services = [
        start("gateway", **settings),
        start("inference_worker", WORKER_MODELS="echo", **settings),
        start("persister", **settings),
    ]
    body = {"model": "echo", "text": SECRET}
    async with aiohttp.ClientSession(services[0].url) as session:
        async with session.post("/api/v1/predict", json=body, headers={"traceparent": TRACE}) as answer:
            prediction_id = (await answer.json())["prediction_id"]
        async with session.post("/api/v1/predict", json={"model": "echo", "text": f"raise {SECRET}"}) as answer:
            assert answer.status == 500
        async with session.post("/api/v1/predict", json={"model": "echo", "text": SECRET + "\0"}) as answer:
            assert answer.status == 422

    def life() -> list[tuple[str, str]]:
        found = [line for service in services for line in lines(service) if line.get("prediction_id") == prediction_id]
        assert all(line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736" for line in found)
        return [(line["service"], line["event"]) for line in sorted(found, key=lambda line: line["time"])]

    await eventually(lambda: len(life()) == 4, "its life is logged")
    assert set(life()) == {
        ("gateway", "accepted"),
        ("inference_worker", "finished"),
        ("gateway", "answered"),
        ("persister", "stored"),
    }
    for service in services:
        assert service.stop() == 0
        text = service.log.read_text()
        assert SECRET not in text and "postgresql://" not in text
        assert all({"time", "level", "service", "event"} <= line.keys() for line in lines(service))
