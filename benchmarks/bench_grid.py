"""The grid of sampling calls, as one entry: ``afterlogits bench -k grid``."""

from __future__ import annotations


def bench_grid(grid):
    """Bounded here, thin in ``--quick``; see ``grid.py``."""
    grid()
