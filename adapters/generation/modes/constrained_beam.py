"""Constrained beam search, which transformers 5 no longer runs itself; it follows 4.55.4."""

from typing import Any

from torch import Tensor

from ....decoding.search.beam_constraints import Constraint, DisjunctiveConstraint, PhrasalConstraint, read_force_words
from ....decoding.search.constrained_beam import constrained_beam_search
from .prepared_call import Mode, open_call, processors_of_4_55
from .removed_beams import REFUSED, hypotheses_options

__all__ = ["run_constrained_beam"]

MODE = Mode("constrained beam search", REFUSED, beams=True)


def run_constrained_beam(model: Any, input_ids: Tensor, **prepared: Any) -> Any:
    """Constrained beam search from the inputs that ``generate`` prepared."""
    config = prepared["generation_config"]
    if config.num_beams < 2:
        raise ValueError(f"num_beams must be at least 2 for constrained generation; got {config.num_beams}")
    call = open_call(MODE, model, input_ids, **prepared)
    beams = constrained_beam_search(
        call.stepper,
        call.input_ids,
        call.stopping,
        constraints=_constraints(config),
        rules=processors_of_4_55(call.processors, rows_per_item=config.num_beams),
        **hypotheses_options(call),
    )
    return call.beam_output(beams)


def _constraints(config: Any) -> list[Constraint]:
    """The constraints of a call, and those that its forced words stand for."""
    constraints = []
    for constraint in config.constraints or ():
        if not isinstance(constraint, (PhrasalConstraint, DisjunctiveConstraint)):
            raise TypeError(
                "constraints must be PhrasalConstraint or DisjunctiveConstraint of afterlogits.decoding; "
                f"got {type(constraint).__name__}"
            )
        constraints.append(constraint)
    if config.force_words_ids is not None:
        constraints += read_force_words(config.force_words_ids)
    return constraints
