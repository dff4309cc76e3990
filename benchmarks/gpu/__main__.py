"""``python -m afterlogits.benchmarks.gpu``."""

import sys

from afterlogits.benchmarks.gpu.check import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
