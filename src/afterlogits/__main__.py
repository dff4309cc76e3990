"""``python -m afterlogits`` is the command ``afterlogits``."""

import sys

from .adapters.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
