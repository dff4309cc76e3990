"""What group and constrained beam search share: the options of 4.55.4's hypotheses, and what has no use there."""

from typing import Any

from .prepared_call import PreparedCall

__all__ = ["REFUSED", "hypotheses_options"]

REFUSED = {
    "draws": "it draws nothing",
    "ends": "the hypotheses of all prompts are compared at one length",
}


def hypotheses_options(call: PreparedCall) -> dict[str, Any]:
    """How hypotheses are compared, ended and returned, as keyword arguments of both searches."""
    config, eos, pad = call.config, call.config._eos_token_tensor, call.config._pad_token_tensor
    return {
        "num_beams": config.num_beams,
        "length_penalty": config.length_penalty,
        "early_stopping": config.early_stopping,
        "num_return_sequences": config.num_return_sequences,
        "eos_token_id": None if eos is None else eos.to(call.input_ids.device),
        "pad_token_id": None if pad is None else int(pad),
        "recorder": call.recorder,
        "with_beam_indices": bool(config.return_dict_in_generate and config.output_scores),
    }
