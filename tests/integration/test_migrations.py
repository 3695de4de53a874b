"""The schema and the migrate step: forward, back, twice at once, and in step with the catalogue."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from migrations.__main__ import run
from migrations.apply import DIRECTORY, Address, migrate, migration_lock, roll_back
from migrations.settings import MigrateSettings
from scripts.stack.postgres import PostgresServer
from shared.contract.catalogue import parse_catalogue
from tests.conftest import FIXTURES
from tests.processes import REPOSITORY

TABLES = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public' AND table_name = ANY(%s)"
OURS = ["models", "model_versions", "predictions", "predictions_default", "deployment", "usage"]
OURS += ["experiments", "feedback", "registry"]


@pytest.fixture
def empty_database(postgres_server: PostgresServer) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex}"
    base = postgres_server.url.rsplit("/", 1)[0]
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield f"{base}/{name}"
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def settings(url: str, catalogue: Path = FIXTURES / "models.toml") -> MigrateSettings:
    return MigrateSettings(database_url=url, model_catalogue=catalogue)


def scalar(url: str, query: str, *values: object) -> object:
    with psycopg.connect(url) as connection:
        row = connection.execute(query, values).fetchone()
        assert row is not None
        return row[0]


def test_every_migration_has_a_rollback_that_undoes_it(empty_database: str) -> None:
    forward = {path.stem for path in DIRECTORY.glob("*.sql") if not path.stem.endswith(".rollback")}
    assert forward == {path.name.removesuffix(".rollback.sql") for path in DIRECTORY.glob("*.rollback.sql")}
    with migration_lock(Address(empty_database)):
        assert set(migrate(Address(empty_database))) == forward
        assert scalar(empty_database, TABLES, OURS) == len(OURS)
        assert roll_back(Address(empty_database), 1) == [max(forward)]
        assert set(roll_back(Address(empty_database), 99)) == forward - {max(forward)}
        assert scalar(empty_database, TABLES, OURS) == 0
        assert set(migrate(Address(empty_database))) == forward


def test_the_step_is_safe_when_started_twice_at_once_and_repeated(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: run(settings(empty_database), 0), range(4)))
    run(settings(empty_database), 0)
    assert scalar(empty_database, "SELECT count(*) FROM models") == 3
    assert scalar(empty_database, "SELECT count(*) FROM model_versions") == 5


def test_a_killed_runs_lock_does_not_block_the_next(empty_database: str) -> None:
    run(settings(empty_database), 0)
    with psycopg.connect(empty_database, autocommit=True) as connection:
        connection.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")
    run(settings(empty_database), 0)
    assert scalar(empty_database, "SELECT count(*) FROM yoyo_lock") == 0


def test_the_tables_follow_the_catalogue_and_keep_what_it_dropped(empty_database: str, tmp_path: Path) -> None:
    run(settings(empty_database), 0)
    changed = tmp_path / "models.toml"
    changed.write_text(
        """
        [[models]]
        name = "echo"
        task = "summarization"
        description = "changed"
        [[models.versions]]
        version = "1.0.0"
        artifact = "elsewhere"
        default = true
        """,
        encoding="utf-8",
    )
    parse_catalogue(changed.read_text(encoding="utf-8"))
    run(settings(empty_database, changed), 0)
    with psycopg.connect(empty_database) as connection:
        rows = connection.execute(
            "SELECT m.name, m.task, v.version, v.artifact_path, v.is_active, v.is_default "
            "FROM model_versions v JOIN models m ON m.id = v.model_id ORDER BY m.name, v.version"
        ).fetchall()
    assert rows[0] == ("echo", "summarization", "1.0.0", "elsewhere", True, True)
    assert [row[:1] + row[2:3] + row[4:] for row in rows[1:]] == [
        ("echo", "2.0.0", False, False),
        ("echo", "3.0.0", False, False),
        ("labels", "1.0.0", False, False),
        ("noop", "1.0.0", False, False),
    ]


@pytest.mark.parametrize(
    ("changes", "constraint"),
    [
        ("output_data = NULL", "output_of_success"),
        ("confidence = 1.5", "confidence"),
        ("status = 'done'", "status"),
        ("processing_time_ms = -1", "processing_time_ms"),
        ("attempt = -1", "attempt"),
        ("input_data = NULL", "input_data"),
        ("model_version_id = 999999", "model_version_id"),
    ],
)
def test_the_schema_refuses_what_must_not_be_stored(database_url: str, changes: str, constraint: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO predictions (id, model_version_id, input_data, output_data, created_at, status, completed_at) "
            "SELECT gen_random_uuid(), id, '{}', '{}', now(), 'succeeded', now() FROM model_versions LIMIT 1"
        )
        with pytest.raises(psycopg.IntegrityError, match=constraint):
            connection.execute(f"UPDATE predictions SET {changes}")


def test_a_model_has_one_running_experiment_and_feedback_says_one_thing(database_url: str) -> None:
    start = "INSERT INTO experiments (model, arms) VALUES ('echo', '[{}]')"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(start)
        with pytest.raises(psycopg.IntegrityError, match="experiments_one_running"):
            connection.execute(start)
        connection.execute("UPDATE experiments SET stopped_at = now()")
        connection.execute(start)
        for values in ("NULL, NULL", "true, 'A'"):
            with pytest.raises(psycopg.IntegrityError, match="correct_or_label"):
                connection.execute(
                    f"INSERT INTO feedback (prediction_id, correct, label) VALUES (gen_random_uuid(), {values})"
                )


def test_a_model_has_one_default_version_and_no_version_twice(database_url: str) -> None:
    insert = "INSERT INTO model_versions (model_id, version, artifact_path, is_default) VALUES (%s, %s, 'x', %s)"
    model = scalar(database_url, "SELECT id FROM models WHERE name = 'echo'")
    with psycopg.connect(database_url, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.UniqueViolation, match="one_default"):
            connection.execute(insert, (model, "9", True))
        with pytest.raises(psycopg.errors.UniqueViolation, match="model_id_version"):
            connection.execute(insert, (model, "1.0.0", False))


def migrate_process(url: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "migrations", *arguments],
        cwd=REPOSITORY,
        env={
            "PATH": "",
            "DATABASE_URL": url,
            "MODEL_CATALOGUE": str(FIXTURES / "models.toml"),
            "LOG_FORMAT": "console",
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_as_a_command_it_migrates_and_rolls_back(empty_database: str) -> None:
    done = migrate_process(empty_database)
    assert done.returncode == 0, done.stderr
    assert "catalogue synced" in done.stderr
    done = migrate_process(empty_database, "--rollback", "1")
    assert done.returncode == 0, done.stderr
    assert (
        scalar(empty_database, "SELECT count(*) FROM _yoyo_migration")
        == len(list(DIRECTORY.glob("*.rollback.sql"))) - 1
    )


def test_as_a_command_it_says_what_is_wrong() -> None:
    away = migrate_process("postgresql://someone:secret@127.0.0.1:1,127.0.0.1:2/x")
    assert away.returncode == 1
    assert one_line(away).startswith("migrate: Postgres cannot be reached: ") and "secret" not in away.stderr
    no_catalogue = migrate_process("postgresql://someone@127.0.0.1:1/x", MODEL_CATALOGUE="/nowhere.toml")
    assert no_catalogue.returncode == 2
    assert "cannot read the model catalogue /nowhere.toml" in no_catalogue.stderr
    unknown = migrate_process("postgresql://someone:secret@127.0.0.1:1/x?pgbouncer=true")
    assert unknown.returncode == 2 and "the option 'pgbouncer'" in one_line(unknown)


def test_as_a_command_it_says_in_a_line_what_the_server_refuses(postgres_server: PostgresServer) -> None:
    base, name = postgres_server.url.rpartition("/")[0], f"test_{uuid.uuid4().hex}"
    at = base.partition("@")[2]
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        for statement in (
            f"CREATE ROLE {name} LOGIN PASSWORD 'x'",
            f"CREATE DATABASE {name}",
            f"CREATE DATABASE {name}_latin ENCODING 'LATIN1' TEMPLATE template0 LOCALE 'C'",
        ):
            connection.execute(statement)
        url = f"postgresql://{name}:x@{at}/{name}"
        for address, code, words in (
            (url, 1, "Postgres refuses: the user of DATABASE_URL lacks a right (SQLSTATE 42501"),
            (url.replace(":x@", ":wrong@"), 1, "password authentication failed"),
            (f"{base}/{name}_gone", 1, "does not exist"),
            (f"{base}/{name}?options=-c%20default_transaction_read_only%3Don", 1, "Postgres refuses: it is read-only"),
            (f"{base}/{name}_latin", 2, "the encoding of the database is LATIN1; Millstream needs UTF8"),
        ):
            done = migrate_process(address)
            assert done.returncode == code and words in one_line(done), done.stderr
        for statement in (f"DROP DATABASE {name}", f"DROP DATABASE {name}_latin", f"DROP ROLE {name}"):
            connection.execute(statement)


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """What a run said, which is one line."""
    (line,) = done.stderr.splitlines()
    return line


def test_of_several_hosts_the_one_that_takes_writes_is_migrated(empty_database: str) -> None:
    before, _, after = empty_database.rpartition("@")
    done = migrate_process(f"{before}@127.0.0.1:1,{after}?target_session_attrs=read-write&connect_timeout=5")
    assert done.returncode == 0, done.stderr
    assert scalar(empty_database, TABLES, OURS) == len(OURS)


DECIDED = (
    "UPDATE models SET generation = 1 WHERE name = 'echo'",
    "UPDATE model_versions v SET is_default = false FROM models m WHERE m.id = v.model_id AND m.name = 'echo'",
    "INSERT INTO model_versions (model_id, version, artifact_path, entry, artifact_digest, registered_by, is_default) "
    "SELECT id, '9', 'new', '{}', 'sha256:0', 'p_a', true FROM models WHERE name = 'echo'",
)
STATES = (
    "SELECT string_agg(concat_ws(' ', v.version, v.is_active, v.is_default, v.registered_by), ', ' ORDER BY v.version) "
    "FROM model_versions v JOIN models m ON m.id = v.model_id WHERE m.name = 'echo'"
)
HELD = "1.0.0 t f, 2.0.0 t f, 3.0.0 f f, 9 t t p_a"


def catalogue_with(folder: Path, *changes: tuple[str, str]) -> Path:
    """The fixtures' catalogue with some texts replaced."""
    text = (FIXTURES / "models.toml").read_text(encoding="utf-8")
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    (folder / "models.toml").write_text(text, encoding="utf-8")
    return folder / "models.toml"


def test_what_was_decided_by_api_holds_until_the_file_says_something_else(empty_database: str, tmp_path: Path) -> None:
    run(settings(empty_database), 0)
    with psycopg.connect(empty_database) as connection:
        for statement in DECIDED:
            connection.execute(statement)
    epoch = scalar(empty_database, "SELECT epoch FROM registry")
    run(settings(empty_database, catalogue_with(tmp_path, ("max_batch_size = 8", "max_batch_size = 9"))), 0)
    assert scalar(empty_database, STATES) == HELD
    assert scalar(empty_database, "SELECT epoch FROM registry") == epoch, "so nobody has to look"
    run(settings(empty_database, catalogue_with(tmp_path, ("active = false", "active = true"))), 0)
    assert scalar(empty_database, STATES) == "1.0.0 t f, 2.0.0 t t, 3.0.0 t f, 9 t f p_a"
    assert scalar(empty_database, "SELECT generation FROM models WHERE name = 'echo'") == 2
    changed = scalar(empty_database, "SELECT epoch FROM registry")
    assert isinstance(changed, int) and isinstance(epoch, int) and changed > epoch


def test_a_registered_version_that_the_file_names_is_the_files_and_one_that_it_does_not_stays(
    empty_database: str, tmp_path: Path
) -> None:
    run(settings(empty_database), 0)
    with psycopg.connect(empty_database) as connection:
        for statement in DECIDED:
            connection.execute(statement)
    taken = catalogue_with(tmp_path, ('version = "1.0.0"', 'version = "9"'))
    run(settings(empty_database, taken), 0)
    assert scalar(empty_database, STATES) == "1.0.0 f f, 2.0.0 t t, 3.0.0 f f, 9 t f"


def test_what_is_left_of_a_registration_is_whole(empty_database: str) -> None:
    run(settings(empty_database), 0)
    for change, constraint in (
        ("entry = '{}'", "registered_whole"),
        ("deleted_at = now(), is_active = false", "deleted_registered"),
    ):
        with (
            psycopg.connect(empty_database) as connection,
            pytest.raises(psycopg.errors.CheckViolation, match=constraint),
        ):
            connection.execute(f"UPDATE model_versions SET {change} WHERE NOT is_default")
