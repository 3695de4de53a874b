"""How far the requests of a lane are, passed on to who listens: the last word of each, together, four times a second.

While nobody listens, that is asked once a second, of what takes so long that its model has said something. What is told
is only a preview: what cannot be passed on is dropped.
"""

from __future__ import annotations

import asyncio

from shared.contract.errors import StoreUnavailable
from shared.contract.progress import Progress
from shared.service.lifecycle import cancel_until_ended
from shared.streams.version_streams import VersionStreams
from shared.telemetry.metrics import ERRORS

TELL_EVERY_S = 0.25
ASK_EVERY_S = 1.0


class ProgressReports:
    """The reports of one lane."""

    def __init__(self, streams: VersionStreams) -> None:
        self._streams = streams
        self._latest: dict[str, Progress] = {}
        self._telling: asyncio.Task[None] | None = None

    def note(self, prediction_id: str, progress: Progress) -> None:
        """Note how far a prediction is."""
        self._latest[prediction_id] = progress
        if self._telling is None or self._telling.done():
            self._telling = asyncio.create_task(self._tell(), name="progress")

    def forget(self, prediction_id: str) -> None:
        """A prediction has been computed: nothing is told of it any more."""
        self._latest.pop(prediction_id, None)

    async def close(self) -> None:
        """Tell nothing more."""
        if self._telling is not None:
            await cancel_until_ended([self._telling])

    async def _tell(self) -> None:
        """Tell what is noted, until there is nothing any more."""
        while self._latest:
            latest, self._latest = self._latest, {}
            try:
                listened = await self._streams.tell(latest)
            except StoreUnavailable as error:
                ERRORS.labels("inference_worker", f"{error.store}_{error.reason}").inc()
                listened = False
            await asyncio.sleep(TELL_EVERY_S if listened else ASK_EVERY_S)
