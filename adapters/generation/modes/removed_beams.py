"""Group and constrained beam search, which transformers 5 no longer runs itself. They follow transformers 4.55.4."""

from typing import Any

from torch import Tensor
from transformers.generation import logits_process

from ....decoding.search.beam_constraints import Constraint, DisjunctiveConstraint, PhrasalConstraint, read_force_words
from ....decoding.search.constrained_beam import constrained_beam_search
from ....decoding.search.group_beam import group_beam_search
from .removed_calls import Call, open_call

__all__ = ["run_constrained_beam", "run_group_beam"]

_REFUSED = {
    "draws": "it draws nothing",
    "ends": "the hypotheses of all prompts are compared at one length",
}


def run_group_beam(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> Any:
    """Group beam search from the inputs that ``generate`` prepared."""
    config, input_ids = generation_config, input_ids.long()
    num_groups = config.num_beam_groups
    call = open_call(
        model,
        input_ids,
        stopping_criteria,
        config,
        model_kwargs,
        logits_processor=logits_processor,
        mode="group beam search",
        refused=_REFUSED,
        copies=config.num_beams,
        rows_per_item=config.num_beams // num_groups,
    )
    # The penalty's place in 4.55.4 is right after these two.
    first = (
        logits_process.UnbatchedClassifierFreeGuidanceLogitsProcessor,
        logits_process.SequenceBiasLogitsProcessor,
    )
    rules = call.rules
    split = next((index for index, rule in enumerate(rules) if type(rule) not in first), len(rules))
    beams = group_beam_search(
        call.stepper,
        input_ids,
        call.stopping,
        num_beams=config.num_beams,
        num_beam_groups=num_groups,
        diversity_penalty=config.diversity_penalty or 0.0,
        before_diversity=rules[:split],
        after_diversity=rules[split:],
        recorder=call.recorder,
        **_beam_options(config, input_ids),
    )
    return _beam_result(call, beams, config)


def run_constrained_beam(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> Any:
    """Constrained beam search from the inputs that ``generate`` prepared."""
    config, input_ids = generation_config, input_ids.long()
    if config.num_beams < 2:
        raise ValueError(f"num_beams must be at least 2 for constrained generation; got {config.num_beams}")
    call = open_call(
        model,
        input_ids,
        stopping_criteria,
        config,
        model_kwargs,
        logits_processor=logits_processor,
        mode="constrained beam search",
        refused=_REFUSED,
        copies=config.num_beams,
        rows_per_item=config.num_beams,
    )
    beams = constrained_beam_search(
        call.stepper,
        input_ids,
        call.stopping,
        constraints=_constraints(config),
        num_beams=config.num_beams,
        rules=call.rules,
        recorder=call.recorder,
        **_beam_options(config, input_ids),
    )
    return _beam_result(call, beams, config)


def _beam_options(config: Any, input_ids: Tensor) -> dict[str, Any]:
    eos, pad = config._eos_token_tensor, config._pad_token_tensor
    return {
        "length_penalty": config.length_penalty,
        "early_stopping": config.early_stopping,
        "num_return_sequences": config.num_return_sequences,
        "eos_token_id": None if eos is None else eos.to(input_ids.device),
        "pad_token_id": None if pad is None else int(pad),
        "with_beam_indices": bool(config.return_dict_in_generate and config.output_scores),
    }


def _beam_result(call: Call, beams: Any, config: Any) -> Any:
    if call.recorder is None:
        return beams.token_ids
    return call.output(
        beams.token_ids,
        sequences_scores=beams.scores if config.output_scores else None,
        beam_indices=beams.beam_indices,
    )


def _constraints(config: Any) -> list[Constraint]:
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
