"""Pairs of implementations timed against each other after checking that they agree (``afterlogits bench``)."""

from collections.abc import Sequence

if __name__ != "afterlogits.benchmarks":
    raise ImportError("import afterlogits.benchmarks, not benchmarks: a second copy of the package would be loaded")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the suite: see ``suite.py``. pytest is imported only here."""
    from afterlogits.benchmarks.suite import main as run

    return run(argv)
