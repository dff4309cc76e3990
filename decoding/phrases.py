"""The import path that version 0.1 documented for constraints of beam search; ``afterlogits.decoding`` has them too."""

from .search.beam_constraints import Constraint, DisjunctiveConstraint, PhrasalConstraint

__all__ = ["Constraint", "DisjunctiveConstraint", "PhrasalConstraint"]
