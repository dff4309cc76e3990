"""Pairs of implementations timed against each other after checking that they agree (``afterlogits bench``)."""

if __name__ != "afterlogits.benchmarks":
    raise ImportError("import afterlogits.benchmarks, not benchmarks: a second copy of the package would be loaded")
