"""Group beam search, which transformers 5 no longer runs itself; it follows 4.55.4."""

from typing import Any

from torch import Tensor
from transformers.generation import logits_process

from ....decoding.search.group_beam import group_beam_search
from .prepared_call import Mode, open_call, processors_of_4_55
from .removed_beams import REFUSED, hypotheses_options

__all__ = ["run_group_beam"]

MODE = Mode("group beam search", REFUSED, beams=True)
# The diversity penalty's place in 4.55.4 is right after these two.
_BEFORE_DIVERSITY = (
    logits_process.UnbatchedClassifierFreeGuidanceLogitsProcessor,
    logits_process.SequenceBiasLogitsProcessor,
)


def run_group_beam(model: Any, input_ids: Tensor, **prepared: Any) -> Any:
    """Group beam search from the inputs that ``generate`` prepared."""
    call = open_call(MODE, model, input_ids, **prepared)
    config = call.config
    rules = processors_of_4_55(call.processors, rows_per_item=config.num_beams // config.num_beam_groups)
    split = next((index for index, rule in enumerate(rules) if type(rule) not in _BEFORE_DIVERSITY), len(rules))
    beams = group_beam_search(
        call.stepper,
        call.input_ids,
        call.stopping,
        num_beam_groups=config.num_beam_groups,
        diversity_penalty=config.diversity_penalty or 0.0,
        before_diversity=rules[:split],
        after_diversity=rules[split:],
        **hypotheses_options(call),
    )
    return call.beam_output(beams)
