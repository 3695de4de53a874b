"""`python -m scripts.stack`: see cli.py."""

from __future__ import annotations

import sys

from scripts.stack.cli import main

if __name__ == "__main__":
    sys.exit(main())
