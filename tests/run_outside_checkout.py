"""Run a few tests against the installed package, from a folder that holds no copy of its sources.

``make wheel-test`` calls this with the interpreter of an environment in which only the built wheel is installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SELECTED = ["tests/test_package.py", "tests/adapters/checkpoints/test_checkpoints.py"]
SELECTED += ["tests/adapters/tasks/text/test_seed_examples.py"]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "tests", Path(folder, "tests"), ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
        where = [sys.executable, "-c", "import afterlogits; print(afterlogits.__file__)"]
        home = subprocess.run(where, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout
        if Path(home.strip()).is_relative_to(ROOT / "src"):
            print(f"afterlogits must be the installed wheel; got {home.strip()}", file=sys.stderr)
            return 2
        print("testing", home.strip())
        command = [sys.executable, "-m", "pytest", "-q", *SELECTED]
        return subprocess.run(command, cwd=folder, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main())
