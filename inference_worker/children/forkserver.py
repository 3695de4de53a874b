"""How children begin: forked by a server that has imported the libraries and holds no secret.

The server (of `multiprocessing`) is started once by a worker. It imports torch and transformers and computes nothing,
so that forking it is safe, a child starts in milliseconds and the libraries are in memory once.
"""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from inference_worker.children import child
from shared.contract.catalogue import HUB_PREFIX

# What a model may need to find its files, its libraries and its CPUs. Everything else stays with the worker.
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LD_PRELOAD")
_PASSED_ON_PREFIXES = (
    *(
        "HF_",
        "TRANSFORMERS_",
        "TORCH_",
        "TOKENIZERS_",
        "OMP_",
        "MKL_",
        "KMP_",
        "ONEDNN_",
        "CUDA_",
        "PYTORCH_",
        "NVIDIA_",
    ),
    *("MALLOC_", "LC_", "COV", "SSL_CERT_"),
)
# glibc gives a large block back to the system as soon as it is freed; the next pass then pays for the same pages again,
# each filled with zeros: a tenth of all CPU time with passes of 400 tokens. It may keep blocks of up to 32 MB.
_MEMORY_IS_KEPT = {"MALLOC_MMAP_THRESHOLD_": str(1 << 25), "MALLOC_TRIM_THRESHOLD_": str(1 << 28)}


_WAY_TO_THE_HUB = [name for upper in ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY") for name in (upper, upper.lower())]


def preload(with_libraries: bool) -> None:
    """Choose what the server imports; call it before the first child is started."""
    multiprocessing.set_forkserver_preload(["inference_worker.children.libraries"] if with_libraries else [])


def start(plan: child.LoadPlan) -> tuple[ForkServerProcess, socket.socket, socket.socket]:
    """Start a child; blocks until the server has forked it, which the first time takes seconds.

    Returns:
        The process, and the worker's ends of its connections for encoding and for computing.
    """
    context = multiprocessing.get_context("forkserver")
    encoding, encoding_there = socket.socketpair()
    computing, computing_there = socket.socketpair()
    with encoding_there, computing_there, ExitStack() as if_it_fails:
        if_it_fails.callback(encoding.close)
        if_it_fails.callback(computing.close)
        process = context.Process(
            target=child.main,
            args=(encoding_there, computing_there, plan, hub_environment(plan)),
            name=f"child {plan.label}",
            daemon=True,
        )
        with _clean_environment():
            forkserver.ensure_running()
        process.start()
        if_it_fails.pop_all()
    return process, encoding, computing


def hub_environment(plan: child.LoadPlan) -> dict[str, str]:
    """The hub's password and the way there, for a child that may have to fetch files from it; nothing for others.

    An adapter may lie here, and its base model there.
    """
    if not plan.location.startswith(HUB_PREFIX) and not Path(plan.location, "adapter_config.json").is_file():
        return {}
    return {name: os.environ[name] for name in (child.HUB_TOKEN, *_WAY_TO_THE_HUB) if os.environ.get(name)}


def passed_on(environ: dict[str, str]) -> dict[str, str]:
    """The part of an environment that a child is given."""
    kept = {
        name: value
        for name, value in environ.items()
        if name in _PASSED_ON
        or (name.startswith(_PASSED_ON_PREFIXES) and name not in (child.HUB_TOKEN, f"{child.HUB_TOKEN}_FILE"))
    }
    return _MEMORY_IS_KEPT | kept


@contextmanager
def _clean_environment() -> Iterator[None]:
    """The server inherits this process's environment as it is when it starts."""
    whole = dict(os.environ)
    kept = passed_on(whole)
    for name in whole.keys() - kept.keys():
        del os.environ[name]
    os.environ.update(kept)
    try:
        yield
    finally:
        for name in kept.keys() - whole.keys():
            del os.environ[name]
        os.environ.update(whole)
