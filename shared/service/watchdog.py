"""The end of a process in which a loop is stuck for good.

Kubernetes restarts a process whose `/livez` stays red; Docker Compose and supervisord only restart one that has ended.
So it ends itself. A thread decides it, since whatever blocks the event loop blocks all that runs there.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import traceback

from shared.service.liveness import Liveness
from shared.service.stderr import EXIT_WAITS_S, QueuedStderr

log = logging.getLogger(__name__)

EXIT_CODE = 1
_CHECKS = 10  # in a row: after a pause of the whole machine every loop looks stuck, until it has run again


def end_if_stuck(liveness: Liveness, after_s: float) -> None:
    """From now on, end this process if a loop has been stalled for another `after_s` seconds, whatever it is doing."""
    threading.Thread(target=_watch, args=(liveness, after_s), name="watchdog", daemon=True).start()


def _watch(liveness: Liveness, after_s: float) -> None:
    stalled, never = 0, threading.Event()
    while stalled < _CHECKS:
        never.wait(after_s / _CHECKS)  # time.sleep fails where the chaos suite moves the wall clock, by libfaketime
        stalled = stalled + 1 if liveness.stalled() else 0
    where = traceback.format_stack(sys._current_frames().get(threading.main_thread().ident or 0))
    log.critical("ended, since a loop is stuck", extra={"stalled_s": liveness.stalled(), "where": "".join(where)})
    if isinstance(sys.stderr, QueuedStderr):
        sys.stderr.wait_written(EXIT_WAITS_S)
    os._exit(EXIT_CODE)
