"""`python -m gateway.control.admin_key [NAME]`: the first API key, made directly in the database, printed once.

Behind `make admin-key`. It allows everything, and makes all others (POST /api/v1/api-keys); once there is a key that
allows `admin`, this makes none.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from gateway.control.authentication import pepper_of
from gateway.control.key_admin import KeyAdmin
from gateway.control.key_store import KeyStore
from gateway.core.errors import Conflict
from gateway.settings import GatewaySettings
from shared.contract.errors import ConfigurationError, StoreUnavailable
from shared.service.settings import load_settings
from shared.streams.revocations import Revocations
from shared.streams.shard import open_shard


async def _run(name: str) -> str:
    settings = load_settings(GatewaySettings)
    pepper = pepper_of(settings)
    shard, store = open_shard(settings), KeyStore(settings)
    try:
        key = await KeyAdmin(store, Revocations(shard), pepper, lambda _: None).create_first_admin(name)
        return key.text
    finally:
        await store.close()
        await shard.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the key; the exit code says whether one was made."""
    parser = argparse.ArgumentParser(prog="python -m gateway.control.admin_key", description="The first API key.")
    parser.add_argument("name", nargs="?", default="admin", help="of whom it is (default: %(default)s)")
    try:
        print(asyncio.run(_run(parser.parse_args(arguments).name)))
    except ConfigurationError as error:
        print(f"admin_key: {error}", file=sys.stderr)
        return 2
    except (Conflict, StoreUnavailable) as error:
        print(f"no key was made: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
