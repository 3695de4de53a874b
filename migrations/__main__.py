"""The migrate step: `python -m migrations [--rollback STEPS]`.

Migrates the schema, gives the services their rights in it, then syncs the catalogue.
"""

from __future__ import annotations

import argparse
import logging
import sys

import psycopg

from migrations.apply import Address, migrate, migration_lock, roll_back
from migrations.catalogue_sync import sync_catalogue
from migrations.rights import give_rights
from migrations.settings import MigrateSettings
from shared.contract.errors import ConfigurationError
from shared.postgres.errors import said
from shared.postgres.preconditions import SERVER, server_problem
from shared.service.catalogue_file import load_catalogue
from shared.service.logs import configure_logging
from shared.service.settings import load_settings

log = logging.getLogger("migrations")

_MAY = "SELECT current_setting('transaction_read_only') = 'on', has_schema_privilege(current_schema(), 'CREATE')"


def run(settings: MigrateSettings, rollback_steps: int) -> None:
    """Migrate, give rights and sync, or roll back.

    Raises:
        ConfigurationError: a setting or the catalogue is wrong.
        psycopg.Error: Postgres cannot be reached, or refuses.
    """
    catalogue = load_catalogue(settings.model_catalogue)
    address = Address(settings.database_url.get_secret_value(), settings.database_timeout_s)
    with migration_lock(address) as connection:
        _check_server(connection)
        if rollback_steps:
            log.info("rolled back", extra={"migrations": roll_back(address, rollback_steps)})
            return
        log.info("migrated", extra={"applied": migrate(address)})
        absent = give_rights(connection, settings.roles)
        log.info("rights given", extra={"absent_roles": absent})
        sync_catalogue(connection, catalogue)
        log.info("catalogue synced", extra={"models": [model.name for model in catalogue.models]})


def _check_server(connection: psycopg.Connection) -> None:
    """Check beforehand what yoyo would not say."""
    version, encoding = connection.execute(SERVER).fetchall()[0]
    if problem := server_problem(version, encoding):
        raise ConfigurationError(f"DATABASE_URL: {problem[1]}")
    is_read_only, may_create = connection.execute(_MAY).fetchall()[0]
    if is_read_only:
        raise psycopg.errors.ReadOnlySqlTransaction("nothing can be migrated")
    if not may_create:
        raise psycopg.errors.InsufficientPrivilege("it may not create tables in the database's schema")


def main() -> int:
    """Run the step; the exit code says whether it succeeded."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    parser.add_argument(
        "--rollback", type=int, default=0, metavar="STEPS", help="roll back the newest STEPS migrations"
    )
    arguments = parser.parse_args()
    try:
        settings = load_settings(MigrateSettings)
        configure_logging(settings, "migrate")
        run(settings, arguments.rollback)
    except ConfigurationError as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 2
    except psycopg.Error as error:
        print(f"migrate: {_in_words(error)}", file=sys.stderr)
        return 1
    return 0


def _in_words(error: psycopg.Error) -> str:
    """An error in one line."""
    if error.sqlstate is None:
        return f"Postgres cannot be reached: {' '.join(str(error).split())}"
    return f"Postgres refuses: {said(error.sqlstate, str(error))}"


if __name__ == "__main__":
    sys.exit(main())
