"""The peers' packages: each in an environment of its own, since they want other versions of what we want too.

What an environment does not have comes from ours: the model, the validation, aiohttp.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

from tests.processes import REPOSITORY

FOLDER = REPOSITORY / ".cache" / "peers"
QUEUES = {
    "arq": ["arq==0.28.0"],
    "celery": ["celery[redis]==5.7.0"],
    "faststream": ["faststream[redis]==0.7.8"],
    "saq": ["saq[hiredis]==0.26.4"],
    "streaq": ["streaq==7.2.0"],
    "taskiq": ["taskiq==0.13.0", "taskiq-redis==1.2.4"],
}
MODEL_SERVERS = {
    "bentoml": ["bentoml==1.4.40"],
    "litserve": ["litserve==0.2.19"],
    "mosec": ["mosec==0.9.8"],
    "rayserve": ["ray[serve]==2.60.0"],
}


def python_of(name: str) -> str:
    """The interpreter that has a peer's packages; they are installed if they are not there yet.

    Raises:
        subprocess.CalledProcessError: pip failed; what it said was printed.
    """
    requirements = (QUEUES | MODEL_SERVERS)[name]
    folder = FOLDER / name
    python, stamp = folder / "bin" / "python", folder / "installed"
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != str(requirements):
        print(f"installing {', '.join(requirements)} …", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
        pip = [sys.executable, "-m", "pip", "--quiet", f"--python={python}", "install"]
        subprocess.run([*pip, *requirements], check=True)
        stamp.write_text(str(requirements), encoding="utf-8")
    ours = sysconfig.get_path("purelib")  # which may be elsewhere than when it was installed
    theirs = sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)})
    Path(theirs, "ours.pth").write_text(ours, encoding="utf-8")
    return str(python)


def environment(name: str) -> dict[str, str]:
    """In which a peer's modules run."""
    path = os.pathsep.join([str(FOLDER / name / "bin"), os.environ["PATH"]])
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPOSITORY)}
