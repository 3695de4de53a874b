"""One child as its worker sees it: asked one thing at a time on each connection, killed when it takes too long."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, TypeVar

import orjson

from inference_worker.children import forkserver, wire
from inference_worker.children.child import OUT_OF_MEMORY, LoadPlan
from inference_worker.children.device_memory import DeviceMemory
from inference_worker.children.wire import Answer, BadFrame, Failure, Prepared
from inference_worker.tasks.protocol import Item
from shared.contract.catalogue import CPU_TOKENS
from shared.contract.errors import ConfigurationError
from shared.contract.progress import Progress

_REAP_S = 2

Reply = TypeVar("Reply")
OnProgress = Callable[[Prepared, Progress], None]


class ChildLost(Exception):
    """A child ended, or was ended, while it held something.

    Attributes:
        reason: `child_died`, `out_of_memory` or `compute_timeout`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class _Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    @classmethod
    async def over(cls, own_end: socket.socket) -> _Connection:
        return cls(*await asyncio.open_unix_connection(sock=own_end, limit=1 << 20))

    async def receive(self, most_bytes: int) -> tuple[Any, bytes]:
        head_length, body_length = wire.PREFIX.unpack(await self._reader.readexactly(wire.PREFIX.size))
        if head_length + body_length > most_bytes:
            raise BadFrame(f"{head_length + body_length} bytes, where at most {most_bytes} are allowed")
        head = await self._reader.readexactly(head_length)
        body = await self._reader.readexactly(body_length)
        try:
            return orjson.loads(head), body
        except orjson.JSONDecodeError as error:
            raise BadFrame("a head that is not JSON") from error

    def send(self, frame: bytes) -> None:
        self._writer.write(frame)

    def close(self) -> None:
        self._writer.close()


class Child:
    """A child.

    Attributes:
        labels: see `inference_worker.tasks.protocol.Task`.
        schemas: of what it takes and gives, see `inference_worker.tasks.declared`.
        device: where it computes: `cpu`, or what the catalogue says of a class of the user's own.
        token_budget: padded tokens that it wants in a pass.
        device_memory: of the GPU that it uses, by what it has said last; None if it uses none.
    """

    def __init__(
        self,
        process: ForkServerProcess,
        encoding: _Connection,
        computing: _Connection,
        timeout_s: float,
        most_item_bytes: int,
        on_end: Callable[[Child, str], None],
        on_progress: OnProgress,
    ) -> None:
        self.labels: Sequence[str] = ()
        self.schemas: Mapping[str, Any] = {}
        self.device, self.token_budget = "cpu", CPU_TOKENS
        self.device_memory: DeviceMemory | None = None
        self._process = process
        self._encoding, self._computing = encoding, computing
        self._encoding_alone, self._computing_alone = asyncio.Lock(), asyncio.Lock()
        self._batch: Sequence[Prepared] = ()  # what it computes now
        self._computed = 0
        self._memory_loaded = 0
        self._timeout_s = timeout_s
        self._most_item_bytes = most_item_bytes
        self._lost: ChildLost | None = None
        self._on_end, self._on_progress = on_end, on_progress
        self._gone = asyncio.Event()
        asyncio.get_running_loop().add_reader(process.sentinel, self._ended)

    @classmethod
    async def start(
        cls, plan: LoadPlan, timeout_s: float, on_end: Callable[[Child, str], None], on_progress: OnProgress
    ) -> Child:
        """Start a child, which has yet to load.

        Args:
            on_end: called once with the reason when its process has ended, whatever it was doing.
            on_progress: called with an item that it computes, and how far that is.

        Raises:
            ConfigurationError: it cannot be started: the message says why.
        """
        try:
            process, encoding, computing = await asyncio.to_thread(forkserver.start, plan)
        except (EOFError, OSError) as error:  # no memory, descriptors or processes left, or the server has just ended
            raise ConfigurationError(f"cannot start a process for {plan.label}: {error!r}") from None
        ends = await _Connection.over(encoding), await _Connection.over(computing)
        return cls(process, *ends, timeout_s, plan.most_output_bytes, on_end, on_progress)

    async def load(self, label: str, timeout_s: float) -> None:
        """Wait until it has loaded; one that has not is ended.

        Raises:
            ConfigurationError: it cannot load: the message says why.
        """
        try:
            async with asyncio.timeout(timeout_s):
                said, _ = await self._computing.receive(wire.MOST_HEAD_BYTES)
        except TimeoutError:
            self.close()
            raise ConfigurationError(
                f"{label} was not loaded after {timeout_s:g} s (LOAD_TIMEOUT_S): it is tried again; what was fetched "
                "of a model of the hub until then is kept"
            ) from None
        except (EOFError, OSError, BadFrame) as error:
            raise ConfigurationError(f"cannot load {label}: {await self._end(error)}") from None
        except BaseException:
            self.close()
            raise
        if not isinstance(said, dict) or "labels" not in said:
            self.close()
            why = said.get("failed") if isinstance(said, dict) else "it did not say that it is loaded"
            raise ConfigurationError(f"cannot load {label}: {why}")
        self.labels = tuple(map(str, said["labels"]))
        self.schemas = said["schemas"] if isinstance(said.get("schemas"), dict) else {}
        self.device, self.token_budget = str(said.get("device")), int(said.get("token_budget") or CPU_TOKENS)
        self.device_memory = DeviceMemory(*said["device_memory"]) if said.get("device_memory") else None
        self._memory_loaded = self._resident_bytes()

    @property
    def idle(self) -> bool:
        """Whether it does nothing at the moment."""
        return not self._encoding_alone.locked() and not self._computing_alone.locked()

    def is_worn(self, most_requests: int | None, most_growth_bytes: int | None) -> bool:
        """Whether it has computed, or grown by, as much as it may."""
        if most_requests is not None and self._computed >= most_requests:
            return True
        return most_growth_bytes is not None and self._resident_bytes() - self._memory_loaded > most_growth_bytes

    def memory_bytes(self) -> int:
        """Its part of the memory in use: what it shares with others is divided among them; 0 once it has ended."""
        try:
            rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:  # no such file here, or no right to read it
            return self._resident_bytes()
        return next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), 0)

    def _resident_bytes(self) -> int:
        """Its resident memory; 0 if that cannot be known."""
        try:
            pages = Path(f"/proc/{self._process.pid}/statm").read_text(encoding="ascii").split()[1]
        except OSError:
            return 0
        return int(pages) * resource.getpagesize()

    @property
    def pid(self) -> int | None:
        """Its process id."""
        return self._process.pid

    async def encode(self, items: Sequence[Item]) -> list[Prepared | Failure]:
        """Tokenize; the reply has one entry for each item.

        Raises:
            ChildLost: it ended over this, or before.
        """
        async with self._encoding_alone:
            request = wire.encode_request([(item.input, dict(item.options)) for item in items])
            return await self._ask(self._encoding, request, wire.read_encode_reply, items)

    async def predict(self, batch: Sequence[Prepared]) -> list[Answer | Failure]:
        """Compute; the reply has one entry for each item. A `Lone` one is a batch of its own, and encoded before.

        Raises:
            ChildLost: it ended over this, or before.
        """
        self._computed += len(batch)
        async with self._computing_alone:
            self._batch = batch
            try:
                return await self._ask(self._computing, wire.predict_request(batch), self._read_answers, batch)
            finally:
                self._batch = ()

    def stop(self, item: Prepared) -> bool:
        """Say that an item is not wanted any more, if it computes it now; returns whether it does."""
        place = next((place for place, each in enumerate(self._batch) if each is item), None)
        if place is not None and self._lost is None:
            self._computing.send(wire.stop_frame(place))
        return place is not None

    def _read_answers(self, head: Any, body: bytes) -> list[Answer | Failure]:
        told, used, tokens = wire.told_beside(head)
        if used is not None and self.device_memory is not None:
            self.device_memory = self.device_memory._replace(used=used)
        answers = wire.read_predict_reply(told, body)
        return answers if tokens is None else [each._replace(tokens=tokens) for each in answers]

    async def predict_alone(self, batch: Sequence[Prepared]) -> list[Answer | Failure]:
        """Compute while nothing is encoded: what ends the child meanwhile was this batch.

        Raises:
            ChildLost: it ended over this, or before.
        """
        async with self._encoding_alone:
            return await self.predict(batch)

    async def _ask(
        self, connection: _Connection, request: bytes, read: Callable[[Any, bytes], list[Reply]], items: Sequence[Any]
    ) -> list[Reply]:
        if self._lost is not None:
            raise self._lost
        try:
            async with asyncio.timeout(self._timeout_s):
                connection.send(request)
                replies = read(*await self._reply(connection, items))
            if len(replies) != len(items):
                raise BadFrame(f"{len(replies)} replies for {len(items)} items")
            return replies
        except TimeoutError:
            self._lose(ChildLost("compute_timeout", f"it took longer than {self._timeout_s:g} s and was ended"))
        except (EOFError, OSError, BadFrame) as error:
            self._lose(await self._end(error))
        raise self._lost or AssertionError("unreachable")

    async def _reply(self, connection: _Connection, items: Sequence[Any]) -> tuple[Any, bytes]:
        """What it answers; meanwhile it may say how far it is."""
        most_bytes = wire.MOST_HEAD_BYTES + len(items) * self._most_item_bytes
        while True:
            head, body = await connection.receive(most_bytes)
            told = wire.progress_in(head, len(items))
            if told is None:
                return head, body
            place, progress = told
            self._on_progress(items[place], progress)

    def _ended(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._lost = self._lost or self._exit()
        self._gone.set()
        self._on_end(self, self._lost.reason)

    def _lose(self, lost: ChildLost) -> None:
        self._lost = self._lost or lost
        self.close()

    async def _end(self, error: Exception) -> ChildLost:
        """Make sure that it has ended; returns how it did."""
        if isinstance(error, BadFrame):
            self.close()
            return ChildLost("child_died", f"its process was ended: it sent {error}")
        with suppress(TimeoutError):
            async with asyncio.timeout(_REAP_S):  # a model may have closed the connections and gone on
                await self._gone.wait()
        self.close()
        return self._exit()

    def _exit(self) -> ChildLost:
        code = self._process.exitcode
        if code == OUT_OF_MEMORY:
            return ChildLost("out_of_memory", "its process had no memory left")
        how = _signal_name(-code) if code is not None and code < 0 else f"exit code {code}"
        return ChildLost("child_died", f"its process ended: {how}")

    def close(self) -> None:
        """Kill it and all that it started."""
        self._encoding.close()
        self._computing.close()
        if self._process.pid is not None:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGKILL)  # it may not lead a group yet


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
