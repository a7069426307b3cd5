"""`python -m sipbridge`, and what the installed command calls."""

import sys

from sipbridge.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
