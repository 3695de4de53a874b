"""The migrate step: `python -m migrations [--rollback STEPS]`. Migrates the schema, then syncs the catalogue."""

from __future__ import annotations

import argparse
import logging
import sys

import psycopg

from migrations.apply import migrate, migration_lock, roll_back
from migrations.catalogue_sync import sync_catalogue
from shared.contract.errors import ConfigurationError
from shared.service.catalogue_file import load_catalogue
from shared.service.logs import configure_logging
from shared.service.settings import DatabaseSettings, load_settings

log = logging.getLogger("migrations")


def run(settings: DatabaseSettings, rollback_steps: int) -> None:
    """Migrate and sync, or roll back.

    Raises:
        ConfigurationError: a setting or the catalogue is wrong.
        psycopg.OperationalError: Postgres cannot be reached.
    """
    catalogue = load_catalogue(settings.model_catalogue)
    url = settings.database_url.get_secret_value()
    with migration_lock(url) as connection:
        if rollback_steps:
            log.info("rolled back", extra={"migrations": roll_back(url, rollback_steps)})
            return
        log.info("migrated", extra={"applied": migrate(url)})
        sync_catalogue(connection, catalogue)
        log.info("catalogue synced", extra={"models": [model.name for model in catalogue.models]})


def main() -> int:
    """Run the step; the exit code says whether it succeeded."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    parser.add_argument(
        "--rollback", type=int, default=0, metavar="STEPS", help="roll back the newest STEPS migrations"
    )
    arguments = parser.parse_args()
    try:
        settings = load_settings(DatabaseSettings)
        configure_logging(settings, "migrate")
        run(settings, arguments.rollback)
    except ConfigurationError as error:
        print(f"migrate: {error}", file=sys.stderr)
        return 2
    except psycopg.OperationalError as error:
        print(f"migrate: Postgres cannot be reached: {error}".strip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
