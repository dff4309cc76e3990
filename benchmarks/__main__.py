"""``python -m afterlogits.benchmarks``."""

import sys

from afterlogits.benchmarks import main

if __name__ == "__main__":
    sys.exit(main())
