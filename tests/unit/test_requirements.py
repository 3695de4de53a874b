"""Every requirement is pinned, and an image takes only files whose hashes are known."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tomllib
import venv
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from scripts.requirements import HASHES, closure, normal, pinned, requirements
from tests.unit.test_import_rules import imports
from tests.wheels import write_wheel

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = list(PYPROJECT["project"]["optional-dependencies"])
CONSTRAINTS = {
    normal(line): line.partition("==")[2]
    for line in (ROOT / "scripts" / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line
}
PACKAGES = pinned(HASHES.read_text(encoding="utf-8"))
IMAGES = re.findall(r"install\.sh ([a-z -]+[a-z])", (ROOT / "Dockerfile").read_text(encoding="utf-8"))


def test_every_requirement_is_pinned_among_the_constraints() -> None:
    for each in requirements(PYPROJECT, EXTRAS):
        assert CONSTRAINTS[normal(each)] == each.partition("==")[2]


def test_an_unknown_extra_is_an_error() -> None:
    with pytest.raises(KeyError):
        requirements({"project": {"dependencies": [], "optional-dependencies": {}}}, ["nothing"])


def test_every_pin_has_hashes_of_its_version() -> None:
    """But torch, whose builds for the CPU are of another index."""
    versions = {name: re.split(r"==| ", each.lines)[1] for name, each in PACKAGES.items()}
    wanted = {name: version for name, version in CONSTRAINTS.items() if name != "torch"}
    assert {name: versions.get(name) for name in wanted} == wanted, "run: make hashes"


def needs_of(name: str) -> set[str]:
    """What an installed package needs wherever it is installed."""
    try:
        wanted = [Requirement(each) for each in distribution(name).requires or []]
    except PackageNotFoundError:  # not installed here
        return set()
    return {normal(each.name) for each in wanted if each.marker is None}


@pytest.mark.parametrize("image", IMAGES)
def test_what_an_image_installs_is_all_that_its_packages_need(image: str) -> None:
    found = set(closure(PACKAGES, set(map(normal, requirements(PYPROJECT, image.split())))))
    assert found < PACKAGES.keys() and "pytest" not in found
    needed = {name for each in found for name in needs_of(each)}
    needed |= needs_of("torch") if "torch" in needed else set()
    assert needed - found <= {"torch"}


PROGRAMS = {
    "gateway": "gateway otel",
    "persister": "persister otel",
    "migrations": "migrate",
    "inference_worker": "worker torch otel object-store",
}
# Of an engine that is no part of an image: versions that want it bring it as requirements of their own.
OPTIONAL = {"onnx", "onnxruntime"}
FIRST_PARTY = ("shared", *PROGRAMS)


def libraries_of(program: str) -> set[str]:
    """The top-level packages of others that a program imports anywhere, itself or through `shared`."""
    found: set[str] = set()
    left_out = tuple(
        ROOT / line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line[:1].isalpha()
    )
    files = (path for path in (ROOT / program).rglob("*.py") if not any(map(path.is_relative_to, left_out)))
    waiting = [path.relative_to(ROOT) for path in files]
    seen: set[Path] = set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            continue
        seen.add(path)
        for _, _, name in imports((ROOT / path).read_text(encoding="utf-8")):
            if name.split(".")[0] not in FIRST_PARTY:
                found.add(name.split(".")[0])
                continue
            module = name.replace(".", "/")  # the last part may be a name in a module
            candidates = (f"{module}.py", f"{module}/__init__.py", f"{module.rpartition('/')[0] or module}.py")
            waiting += [Path(each) for each in candidates if (ROOT / each).is_file()]
    return found - set(sys.stdlib_module_names)


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_image_has_all_that_its_program_imports(program: str) -> None:
    extras = PROGRAMS[program]
    assert extras in IMAGES
    has = {"torch", *closure(PACKAGES, set(map(normal, requirements(PYPROJECT, extras.split()))))}
    bring = packages_distributions()
    missing = {
        name for name in libraries_of(program) - OPTIONAL if not {normal(each) for each in bring.get(name, [])} & has
    }
    assert not missing, f"the image of {program} has no {missing}: add it to the extras"


def test_imports_through_shared_are_found() -> None:
    assert {"aiohttp", "redis", "uvloop"} <= libraries_of("gateway") and "psycopg" in libraries_of("migrations")


def test_the_images_are_found() -> None:
    assert len(IMAGES) == 7 and "worker otel object-store" in IMAGES and "gateway otel" in IMAGES


def test_an_image_that_forgets_what_torch_needs_would_be_found() -> None:
    """Known bad: torch is not among the packages, so what it needs comes only with who asks for torch."""
    found = set(closure(PACKAGES, set(map(normal, requirements(PYPROJECT, ["models"])))))
    assert "accelerate" in found and needs_of("torch") - found


def test_a_package_is_read_with_its_hashes_and_who_needs_it() -> None:
    lines = "A.b==1 \\\n    --hash=sha256:" + "a" * 64 + " \\\n    --hash=sha256:" + "b" * 64
    other = f"c_d==2 \\\n    --hash=sha256:{'c' * 64}\n    # via a-b\n"
    text = f"# Made\n{lines}\n    # via\n    #   -c c.txt\n    #   torch\n{other}"
    packages = pinned(text)
    assert packages["a-b"].lines == lines and packages["a-b"].needed_by == {"torch"}
    assert closure(packages, {"torch"}) == ["a-b", "c-d"] and closure(packages, {"c-d"}) == ["c-d"]


@pytest.mark.parametrize("is_right", [True, False])
def test_an_image_is_not_built_with_a_file_of_another_hash(is_right: bool, tmp_path: Path) -> None:
    """The build step of the Dockerfile, in a project of one small package."""
    shutil.copytree(ROOT / "scripts" / "image", tmp_path / "scripts" / "image")
    shutil.copy(ROOT / "scripts" / "requirements.py", tmp_path / "scripts")
    (tmp_path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["tiny==1.0"]\n[project.optional-dependencies]\ngateway = []\n', encoding="utf-8"
    )
    content = write_wheel(tmp_path, "tiny").read_bytes() + (b"" if is_right else b" ")
    digest = hashlib.sha256(content).hexdigest()
    hashes = f"tiny==1.0 \\\n    --hash=sha256:{digest}\n    # via millstream (pyproject.toml)\n"
    (tmp_path / "scripts" / "hashes.txt").write_text(hashes, encoding="utf-8")
    venv.create(tmp_path / "venv", with_pip=False)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "VENV": str(tmp_path / "venv"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(tmp_path),
        "PIP_CONFIG_FILE": os.devnull,
    }
    command = ["sh", "scripts/image/install.sh", "gateway"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode == 0) is is_right, done.stderr
    assert bool(list((tmp_path / "venv").rglob("tiny.py"))) is is_right
    if not is_right:
        assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr
