"""`python -m gateway.control.verify_audit [NUMBER:DIGEST]`: is the audit log whole? Behind `make verify-audit`.

With the number and digest of an entry that were kept elsewhere, as from the log line `audited`, it is also found if the
end of the log was cut off, or the whole made anew. Prints the newest, to be kept. The exit code is 1 if it is not
whole.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence

from gateway.control.key_store import KeyStore
from shared.contract.audit import Chain
from shared.contract.errors import ConfigurationError, StoreUnavailable
from shared.service.settings import DatabaseSettings, load_settings

AT_ONCE = 1000


async def check(store: KeyStore, kept: tuple[int, bytes] | None) -> tuple[int, bytes, str]:
    """Number and digest of the last entry that is right, and what is wrong; nothing if all is.

    Args:
        kept: number and digest of an entry, as they were.

    Raises:
        StoreUnavailable: Postgres cannot be reached.
    """
    chain, problem = Chain(), ""
    while not problem and (entries := await store.audit_log(chain.number, AT_ONCE)):
        problem = chain.problem(entries)
        was = next((digest for entry, digest in entries if kept and entry.number == kept[0]), None)
        if not problem and kept and was not in (None, kept[1]):
            problem = f"entry {kept[0]} is another than the one whose digest was kept"
    if not problem and kept and chain.number < kept[0]:
        problem = f"entry {kept[0]} is missing: the log ends with {chain.number}"
    return chain.number, chain.digest, problem


def _kept(text: str) -> tuple[int, bytes]:
    number, _, digest = text.partition(":")
    try:
        return int(number), bytes.fromhex(digest)
    except ValueError:
        raise argparse.ArgumentTypeError("must be a number, a colon and a digest in hexadecimal digits") from None


async def _run(kept: tuple[int, bytes] | None) -> int:
    store = KeyStore(load_settings(DatabaseSettings))
    try:
        number, digest, problem = await check(store, kept)
    finally:
        await store.close()
    if problem:
        print(f"the audit log is not whole: {problem}", file=sys.stderr)
        return 1
    print(f"the audit log is whole; its newest entry: {number}:{digest.hex()}")
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; the exit code says whether the log is whole."""
    parser = argparse.ArgumentParser(
        prog="python -m gateway.control.verify_audit", description="Is the audit log whole?"
    )
    parser.add_argument("kept", nargs="?", type=_kept, metavar="NUMBER:DIGEST", help="an entry as it was")
    try:
        return asyncio.run(_run(parser.parse_args(arguments).kept))
    except ConfigurationError as error:
        print(f"verify_audit: {error}", file=sys.stderr)
        return 2
    except StoreUnavailable as error:
        print(f"Postgres cannot be asked: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
