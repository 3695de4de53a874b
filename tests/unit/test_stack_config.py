"""Reading and making `.env`, ports, and what is checked before a start."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from scripts.stack import dotenv, preflight
from scripts.stack.commands import make_env
from scripts.stack.config import DEFAULT_PORTS, load, with_ports
from scripts.stack.errors import StackError
from scripts.stack.ports import free_port, is_taken
from scripts.stack.preflight import (
    check_disk,
    check_home,
    check_install,
    check_ports,
    check_python,
    check_start,
    port_problem,
)
from scripts.stack.record import command_lock
from scripts.stack.reports import compose_summary, summary
from scripts.stack.strays import described, mark
from tests.processes import wait_until

ROOT = Path(__file__).resolve().parents[2]


def test_dotenv_is_read_as_compose_reads_it() -> None:
    text = "# a comment\n\nA=1\nexport B='two words'\nC=\"x\"\nD=5 # five\nE=\nF=a=b#c\n"
    assert dotenv.parse(text) == {"A": "1", "B": "two words", "C": "x", "D": "5", "E": "", "F": "a=b#c"}


def test_dotenv_names_the_line_that_is_wrong_and_not_its_content() -> None:
    with pytest.raises(StackError, match="line 2") as caught:
        dotenv.parse("A=1\nsecret stuff\n")
    assert "secret" not in str(caught.value)


def test_env_is_made_once_for_its_owner_only(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    assert dotenv.create(env, ROOT / ".env.example")
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    password, other = (dotenv.read(env)[name] for name in ("POSTGRES_PASSWORD", "GRAFANA_PASSWORD"))
    assert min(len(password), len(other)) >= 24 and password != other
    assert not dotenv.create(env, ROOT / ".env.example")
    assert dotenv.read(env)["POSTGRES_PASSWORD"] == password


def test_an_older_env_is_given_the_passwords_it_lacks(tmp_path: Path) -> None:
    env = tmp_path / ".env"
    env.write_text("# mine\nPOSTGRES_PASSWORD=old\nGRAFANA_PASSWORD=\nLOG_LEVEL=DEBUG\n", encoding="utf-8")
    missing = [name for name in dotenv.SECRETS if name != "POSTGRES_PASSWORD"]
    assert dotenv.complete(env) == [*missing, "AUTH"]
    values = dotenv.read(env)
    assert (values["POSTGRES_PASSWORD"], values["LOG_LEVEL"]) == ("old", "DEBUG")
    assert min(len(values[name]) for name in missing) >= 24
    assert len({values[name] for name in missing}) == len(missing)
    assert values["AUTH"] == "off" and "JWT_SECRET" not in values
    assert env.read_text(encoding="utf-8").startswith("# mine\n")
    assert dotenv.complete(env) == []


def test_up_makes_an_env_or_gives_an_older_one_what_it_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / ".env.example").write_text((ROOT / ".env.example").read_text(encoding="utf-8"), encoding="utf-8")
    make_env(tmp_path)
    assert all(dotenv.read(tmp_path / ".env")[name] for name in dotenv.SECRETS)
    (tmp_path / ".env").write_text("POSTGRES_PASSWORD=old\n", encoding="utf-8")
    make_env(tmp_path)
    make_env(tmp_path)
    assert capsys.readouterr().out.splitlines()[1:] == [f"added to .env: {', '.join([*dotenv.SECRETS[1:], 'AUTH'])}"]
    assert dotenv.read(tmp_path / ".env")["POSTGRES_PASSWORD"] == "old"


def test_the_repository_has_no_password() -> None:
    assert {dotenv.read(ROOT / ".env.example")[name] for name in dotenv.SECRETS} == {""}


def test_example_shows_the_default_ports() -> None:
    example = dotenv.read(ROOT / ".env.example")
    assert {name: int(example[name]) for name in DEFAULT_PORTS} == DEFAULT_PORTS


def test_environment_wins_over_dotenv_and_empty_counts_as_unset(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("GATEWAY_PORT=9000\nREDIS_PORT=9001\n", encoding="utf-8")
    config = load({"REDIS_PORT": "9002", "POSTGRES_PORT": ""}, tmp_path)
    assert config.ports == {**DEFAULT_PORTS, "GATEWAY_PORT": 9000, "REDIS_PORT": 9002}


def test_given_stores_are_not_listened_for(tmp_path: Path) -> None:
    config = load({"DATABASE_URL": "postgresql://elsewhere/x", "REDIS_URL": "redis://elsewhere"}, tmp_path)
    assert set(config.listening()) == {"GATEWAY_PORT", "ADMIN_PORT", "WORKER_METRICS_PORT", "PERSISTER_METRICS_PORT"}


@pytest.mark.parametrize("port", ["0", "65536", "x", "-1", "８０"])
def test_a_port_that_is_none_is_refused(tmp_path: Path, port: str) -> None:
    with pytest.raises(StackError, match="GATEWAY_PORT"):
        load({"GATEWAY_PORT": port}, tmp_path)


def test_equal_ports_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="GATEWAY_PORT and WORKER_METRICS_PORT are both 7000"):
        load({"GATEWAY_PORT": "7000", "WORKER_METRICS_PORT": "7000"}, tmp_path)


@pytest.mark.parametrize("grace", ["0", "soon", "-3", "nan"])
def test_a_grace_that_is_none_is_refused(tmp_path: Path, grace: str) -> None:
    with pytest.raises(StackError, match="SHUTDOWN_GRACE_S"):
        load({"SHUTDOWN_GRACE_S": grace}, tmp_path)


def test_a_missing_password_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="make env"):
        _ = load({}, tmp_path).password


def test_the_password_is_not_shown(tmp_path: Path) -> None:
    assert "hunter2" not in repr(load({"POSTGRES_PASSWORD": "hunter2"}, tmp_path))


def test_a_taken_port_names_who_has_it_and_a_port_that_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "free_port", lambda: 4711)
    with socket.socket() as listener, socket.socket() as beside:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        assert is_taken(port)
        with contextlib.suppress(OSError, OverflowError):  # the next one that would be proposed
            beside.bind(("127.0.0.1", port + 10_000))
            beside.listen()
        with pytest.raises(StackError) as refused:
            check_ports({"GATEWAY_PORT": port, "REDIS_PORT": free_port()})
    problem, remedy = str(refused.value).splitlines()
    assert problem.startswith(f"port {port} (GATEWAY_PORT) is already taken")
    assert sys.platform != "linux" or f"by pid {os.getpid()} (" in problem
    proposed = int(remedy.partition("make up GATEWAY_PORT=")[2].split()[0])
    assert "REDIS_PORT" not in remedy and proposed not in (port, port + 10_000)
    assert port_problem("GATEWAY_PORT", port) is None, "nobody has it any more"


def test_a_port_of_roots_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def reserved(port: int) -> bool:
        if port < 1024:
            raise PermissionError
        return False

    monkeypatch.setattr(preflight, "is_taken", reserved)
    with pytest.raises(StackError, match="port 80 .GATEWAY_PORT. is reserved for root\n.*make up GATEWAY_PORT=10080 "):
        check_ports({"GATEWAY_PORT": 80})


@pytest.mark.skipif(sys.platform != "linux", reason="the environment of other processes is read from /proc")
def test_a_process_of_another_stack_is_told_with_its_folder() -> None:
    command = [sys.executable, "-c", "input()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=mark(Path("/some/where"))) as process:
        assert process.stdin is not None
        wait_until(lambda: "input()" in described(process.pid), "it is executed")
        assert described(process.pid).endswith(", of the stack in /some/where")
        process.stdin.close()
    assert described(process.pid) == f"pid {process.pid}"


def test_start_is_refused_where_a_port_is_taken(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with pytest.raises(StackError, match="already taken"):
            check_start(load({"GATEWAY_PORT": str(listener.getsockname()[1])}, tmp_path))


def test_old_python_and_missing_venv_say_what_to_do() -> None:
    check_python((3, 11), has_venv=True)
    with pytest.raises(StackError, match="3.10 is too old.*PYTHON="):
        check_python((3, 10), has_venv=True)
    with pytest.raises(StackError, match="python3-venv"):
        check_python((sys.version_info.major, sys.version_info.minor), has_venv=False)


def test_little_disk_is_refused_more_so_before_an_installation(tmp_path: Path) -> None:
    check_disk(10**9, True, tmp_path)
    with pytest.raises(StackError, match="1.0 GB are free"):
        check_disk(10**9, False, tmp_path)
    with pytest.raises(StackError, match="to run"):
        check_disk(10**8, True, tmp_path)


def test_a_folder_that_cannot_hold_data_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check_home(tmp_path / "to" / "be" / "made")
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StackError, match=f"{file} is not a folder, .*: name another, MILLSTREAM_HOME="):
        check_home(file / "home")
    monkeypatch.setattr("os.access", lambda *_: False)
    with pytest.raises(StackError, match=f"{tmp_path} cannot be written into"):
        check_home(tmp_path / "home")


def test_the_disk_of_the_data_is_looked_at_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def free(folder: Path) -> SimpleNamespace:
        return SimpleNamespace(free=10**8 if folder == tmp_path else 10**10)

    monkeypatch.setattr(preflight, "shutil", SimpleNamespace(disk_usage=free))
    with pytest.raises(StackError, match=f"0.1 GB are free in {tmp_path}, 0.3 GB are needed to run"):
        check_install(load({"MILLSTREAM_HOME": str(tmp_path / "not" / "there" / "yet")}))


def test_two_that_install_take_turns(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "scripts.stack.alone", "sh", "-c", "echo on we go; exit 3"]
    environment = {**os.environ, "MILLSTREAM_HOME": str(tmp_path)}
    with contextlib.ExitStack() as first:
        first.enter_context(command_lock(tmp_path / "run", lambda: pytest.fail("nobody else is at work")))
        second = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
        assert second.stdout is not None
        assert second.stdout.readline() == "another make up of this stack is at work: waiting for it …\n"
        first.close()
        assert second.communicate(timeout=30)[0] == "on we go\n"
    assert second.returncode == 3


def test_summaries_name_the_ports_in_use_and_the_stream(tmp_path: Path) -> None:
    config = with_ports(load({}, tmp_path), {"GATEWAY_PORT": 1234, "REDIS_PORT": 1235})
    native, compose = "\n".join(summary(config)), "\n".join(compose_summary(config))
    assert "localhost:1234/api/v1/predict" in native
    assert "redis-cli -p 1235 XRANGE millstream:requests:sentiment-analysis:1.0.0 - + COUNT 5" in native
    assert "docker compose exec redis redis-cli XRANGE millstream:requests:" in compose
