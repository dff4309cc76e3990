"""DoLa, which transformers 5 no longer runs itself; it follows 4.55.4."""

from typing import Any

import torch
from torch import Tensor

from ....decoding.sampling.params import SamplingParams
from ....decoding.search.decode_loop import Select, greedy
from ....decoding.search.dola import candidate_layers, dola
from ....decoding.search.history import History
from ..selection import SamplerSelect, build_sampler, require_draws
from .contrastive import refuse_stateful
from .prepared_call import Mode, PreparedCall, open_call, processors_of_4_55

__all__ = ["run_dola"]

MODE = Mode("DoLa", {"grammars": "it drops most tokens before a grammar is asked"}, hidden=True)


def run_dola(model: Any, input_ids: Tensor, **prepared: Any) -> Any:
    """DoLa from the inputs that ``generate`` prepared."""
    layers = _layers(model, prepared["generation_config"].dola_layers)
    call = open_call(MODE, model, input_ids, **prepared)
    rules, select = _selection(call)
    sequences = dola(
        call.stepper,
        History(call.input_ids),
        select,
        call.stopping,
        layers=layers,
        rules=rules,
        pad_token_id=call.pad_token_id,
        recorder=call.recorder,
        on_tokens=call.on_tokens,
        late_stop=call.may_stop_late(),
    )
    return call.output(sequences)


def _layers(model: Any, asked: Any) -> Any:
    """The layers to compare with; refuses models that have none to compare."""
    refuse_stateful(model, MODE.name)
    if model.config.is_encoder_decoder:
        raise ValueError(f"dola_layers must be unset for encoder-decoder models; got {asked!r}")
    if model.get_output_embeddings() is None:
        raise ValueError(f"dola_layers must be unset for models without an output head; got {asked!r}")
    return candidate_layers(
        asked,
        model.config.get_text_config().num_hidden_layers,
        tied_embeddings=bool(getattr(model.config, "tie_word_embeddings", False)),
    )


def _selection(call: PreparedCall) -> tuple[Any, Select]:
    """The rules that stay rules, and what picks a token."""
    config, rules = call.config, processors_of_4_55(call.processors)
    require_draws(config, call.request)
    if not config.do_sample:
        return rules, greedy
    if not call.request.rows and call.request.seeds is None:
        on_device = call.input_ids.device.type != "cpu"
        return rules, SamplerSelect(SamplingParams(), call.input_ids.shape[0]) if on_device else _multinomial
    if call.recorder is not None and call.recorder.scores is not None:
        raise ValueError("output_scores must be off for DoLa with per-row filters or seeds; got True")
    return build_sampler(rules, call.request, call.input_ids.shape[0], call.copies)


def _multinomial(logits: Tensor, *, step: int, rows: Tensor | None = None) -> Tensor:
    """One draw per row of ``logits`` [N, V] from torch's own stream, as transformers draws it."""
    probs = torch.softmax(logits, dim=-1)
    try:
        return torch.multinomial(probs, num_samples=1).squeeze(1)
    except RuntimeError as error:
        bad = (~probs.isfinite()).any(dim=-1).nonzero().flatten().tolist()
        if not bad:
            raise
        raise ValueError(f"logits must leave a token to draw; got none in row {bad[0]} at step {step}") from error
