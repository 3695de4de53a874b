"""A child: loads one model version, then encodes and computes what its worker sends.

Each step has a connection and a thread of its own, so that the next window is tokenized while a batch computes. Either
connection ending means that the worker is gone.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import orjson

from inference_worker.children import device_memory, isolation, wire
from inference_worker.children.answers import answering, preparing, unpacked
from inference_worker.children.guard import OutOfMemory, failure, run_step
from inference_worker.children.wire import Failure
from inference_worker.tasks.progress import EVERY_S, telling
from inference_worker.tasks.protocol import Item, Task
from shared.contract.catalogue import CPU_TOKENS
from shared.contract.progress import Progress

HUB_TOKEN = "HF_TOKEN"
MOST_SCHEMA_BYTES = 16_384

# Exit codes of a child: its connections are broken; it has no memory left.
LOST = 70
OUT_OF_MEMORY = 71


class LoadPlan(NamedTuple):
    """What a child serves, and with what.

    Attributes:
        device: where torch computes, as the catalogue names it.
        token_budget: padded tokens in a pass; 0 for what suits the device.
        threads: threads of one forward pass.
        memory_bytes: what it may allocate beyond what it has when it is loaded.
        packages: a folder from which it imports what the worker does not have; empty for none.
        sha256: of its weights, see `inference_worker.tasks.weights`; None: they are not compared.
    """

    label: str
    task: str
    location: str
    dtype: str
    engine: str
    device: str
    token_budget: int
    threads: int
    memory_bytes: int
    most_output_bytes: int
    most_tokens: int
    most_chunks: int
    packages: str = ""
    sha256: str | Mapping[str, str] | None = None


def main(encoding: socket.socket, computing: socket.socket, plan: LoadPlan, to_the_hub: Mapping[str, str]) -> None:
    """Load, say so, and serve until the worker hangs up.

    Args:
        to_the_hub: the password for the hub and the way there, in the environment only while the model is loaded.
    """
    isolation.separate()
    os.register_at_fork(after_in_child=encoding.close)
    os.register_at_fork(after_in_child=computing.close)
    started = time.monotonic()
    try:
        with _logged_in(to_the_hub):
            plan = _placed(plan)
            task, schemas = _load(plan)
            memory = device_memory.device_memory(plan.device)
    except BaseException as error:  # noqa: B036 - a model's own code may raise anything
        _send(computing, wire.frame({"failed": failure(error).error}))
        return
    isolation.give_back_memory()
    # What is allocated on a GPU takes address space here, too.
    isolation.limit_growth(plan.memory_bytes + (memory.limit if memory else 0))
    labels = [str(label) for label in getattr(task, "labels", ())]
    ready = {"labels": labels, "schemas": schemas, "seconds": round(time.monotonic() - started, 2)}
    ready |= {"device": plan.device, "token_budget": plan.token_budget, "device_memory": [*memory] if memory else None}
    _send(computing, wire.frame(ready))
    answer = answering(plan.most_output_bytes, bool(labels))
    prepare = preparing(plan.most_tokens, plan.most_chunks)
    encodes = threading.Lock()

    def encoded(items: Any) -> list[wire.Prepared | Failure]:
        with encodes:
            return run_step(task.encode, prepare, [Item(each, options) for each, options in items])

    def encode(items: Any, _: bytes) -> bytes:
        return wire.encode_reply(encoded(items))

    def tell(place: int, progress: Progress) -> None:
        _send(computing, wire.progress_frame(place, progress))

    stops = _Stops(computing)

    def predict(costs: Any, body: bytes) -> bytes:
        if wire.stopped_in(costs) is not None:
            return b""  # it came too late
        stops.begin()
        items: list[wire.Prepared | Failure]
        if (lone := wire.lone_in(costs, body)) is not None:
            items = encoded([lone])
        else:
            data = wire.parts_of([length for _, _, length in costs], body)
            items = [wire.Prepared(tokens, rows, part) for (tokens, rows, _), part in zip(costs, data, strict=True)]
        batch = [unpacked(each) for each in items if isinstance(each, wire.Prepared)]
        answers = run_step(telling(task.predict, batch, tell, stops.told), answer, batch)
        used = None if memory is None else device_memory.used_bytes(plan.device)
        if lone is None:
            return wire.predict_reply(answers, used)
        refused = [each for each in items if isinstance(each, Failure)]
        return wire.predict_reply(refused or answers, used, sum(each.tokens for each in items))

    threading.Thread(target=_serve, args=(encoding, encode), name=f"encode {plan.label}", daemon=True).start()
    _serve(computing, predict)


class _Stops:
    """The items of the batch that are not wanted any more, as the worker says while they are computed."""

    def __init__(self, computing: socket.socket) -> None:
        self._computing, self._told, self._look_at, self._thread = computing, set[int](), 0.0, 0

    def begin(self) -> None:
        """A batch begins, in the thread that reads from the worker."""
        self._told, self._thread = set(), threading.get_ident()

    def told(self, place: int) -> bool:
        """Whether an item is not wanted any more; looked at from time to time, and by this thread alone."""
        if time.monotonic() >= self._look_at and threading.get_ident() == self._thread:
            self._look_at = time.monotonic() + EVERY_S
            while select.select([self._computing], [], [], 0)[0]:
                received = _receive(self._computing)
                if received is None:
                    os._exit(0)  # the worker hung up
                self._told.add(wire.stopped_in(received[0]) or 0)
        return place in self._told


@contextmanager
def _logged_in(to_the_hub: Mapping[str, str]) -> Iterator[None]:
    os.environ.update(to_the_hub)
    try:
        yield
    finally:
        for name in to_the_hub:
            os.environ.pop(name, None)


def _placed(plan: LoadPlan) -> LoadPlan:
    """The plan, with the device that is computed on. A class of the user's own chooses it by itself."""
    if ":" in plan.task:
        return plan._replace(token_budget=plan.token_budget or CPU_TOKENS)
    from inference_worker.tasks import devices

    device = devices.choose(plan.device, plan.engine)
    return plan._replace(device=str(device), token_budget=plan.token_budget or devices.tokens_a_pass(device))


def _load(plan: LoadPlan) -> tuple[Task, dict[str, Any]]:
    """The task, warmed up, and the schemas of what it takes and gives."""
    os.environ["OMP_NUM_THREADS"] = str(plan.threads)
    if plan.packages:
        from inference_worker.tasks.custom import import_also_from

        import_also_from(plan.packages)
    if ":" not in plan.task:
        from inference_worker.tasks.threads import use_threads

        use_threads(plan.threads)
    if plan.sha256:
        from inference_worker.tasks.weights import check_weights

        check_weights(plan.location, plan.sha256)
    from inference_worker.tasks.declared import declared_by
    from inference_worker.tasks.loading import load_task

    task = load_task(plan.task, plan.location, plan.dtype, plan.token_budget, plan.engine, plan.device)
    answer = answering(plan.most_output_bytes, with_labels=False)
    prepare = preparing(plan.most_tokens, plan.most_chunks)
    declared = declared_by(task)
    samples = [] if declared.sample is None else [declared.sample]
    for _ in range(2):  # so that no request waits for what is set up lazily, and what cannot serve says so now
        for encoded in _all_good(run_step(task.encode, prepare, samples)):
            _all_good(run_step(task.predict, answer, [unpacked(encoded)]))
    schemas = declared.schemas()
    return task, schemas if len(orjson.dumps(schemas)) <= MOST_SCHEMA_BYTES else {}


def _all_good(answers: Sequence[Any]) -> Sequence[Any]:
    for each in answers:
        if isinstance(each, Failure):
            raise RuntimeError(f"its sample fails: {each.error}")
    return answers


def _serve(connection: socket.socket, reply: Callable[[Any, bytes], bytes]) -> None:
    try:
        while (request := _receive(connection)) is not None:
            _send(connection, reply(*request))
    except (OutOfMemory, MemoryError):
        os._exit(OUT_OF_MEMORY)
    except (OSError, struct.error):
        os._exit(LOST)
    os._exit(0)  # the worker hung up: threads of the model are not waited for


def _send(connection: socket.socket, frame: bytes) -> None:
    connection.sendall(frame)


def _receive(connection: socket.socket) -> tuple[Any, bytes] | None:
    prefix = _exactly(connection, wire.PREFIX.size)
    if prefix is None:
        return None
    head_length, body_length = wire.PREFIX.unpack(prefix)
    head, body = _exactly(connection, head_length), _exactly(connection, body_length)
    if head is None or body is None:
        return None
    return orjson.loads(head), bytes(body)


def _exactly(connection: socket.socket, length: int) -> bytearray | None:
    received = bytearray(length)
    view = memoryview(received)
    at = 0
    while at < length:
        count = connection.recv_into(view[at:])
        if count == 0:
            return None
        at += count
    return received
