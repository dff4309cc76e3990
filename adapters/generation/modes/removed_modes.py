"""The four modes that transformers 5 no longer runs itself: group beam, constrained beam, contrastive search and DoLa.

They follow transformers 4.55.4, the last version with loops of its own for them. The two here go token by token.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.generation import GenerationMode

from ....decoding.search.contrastive import contrastive_search
from ....decoding.search.decode_loop import Select, greedy
from ....decoding.search.dola import candidate_layers, dola
from ....decoding.search.history import History
from ..selection import build_sampler, require_draws
from .removed_beams import run_constrained_beam, run_group_beam
from .removed_calls import Call, open_call

__all__ = ["REMOVED_MODES"]

_STATEFUL = "{mode} needs a model whose cache can go back to an earlier step; got {name}"


def run_contrastive(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    *,
    streamer: Any = None,
    **model_kwargs: Any,
) -> Any:
    """Contrastive search from the inputs that ``generate`` prepared."""
    config, mode, input_ids = generation_config, "contrastive search", input_ids.long()
    if not model_kwargs.get("use_cache", True):
        raise ValueError("use_cache must be True for contrastive search; got False")
    _refuse_stateful(model, mode)
    if getattr(model_kwargs.get("past_key_values"), "is_compileable", False):
        kind = type(model_kwargs["past_key_values"]).__name__
        raise ValueError(f"the cache must be one that grows, for contrastive search tries tokens out; got a {kind}")
    mask = model_kwargs.get("decoder_attention_mask" if model.config.is_encoder_decoder else "attention_mask")
    refused = {"draws": "it draws nothing"}
    call = open_call(
        model,
        input_ids,
        stopping_criteria,
        config,
        model_kwargs,
        logits_processor=logits_processor,
        mode=mode,
        refused=refused,
        hidden=True,
    )
    sequences = contrastive_search(
        call.stepper,
        History(input_ids),
        call.stopping,
        penalty_alpha=config.penalty_alpha,
        top_k=config.top_k,
        prompt_mask=mask,
        rules=call.rules,
        **_heard(call, streamer),
    )
    if call.recorder is not None and hasattr(call.stepper.cache, "crop"):
        call.stepper.cache.crop(-1)  # the model is one token ahead of the sequences
    return _result(call, sequences, streamer)


def run_dola(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    *,
    streamer: Any = None,
    **model_kwargs: Any,
) -> Any:
    """DoLa from the inputs that ``generate`` prepared."""
    config, input_ids = generation_config, input_ids.long()
    _refuse_stateful(model, "DoLa")
    if model.config.is_encoder_decoder:
        raise ValueError(f"dola_layers must be unset for encoder-decoder models; got {config.dola_layers!r}")
    if model.get_output_embeddings() is None:
        raise ValueError(f"dola_layers must be unset for models without an output head; got {config.dola_layers!r}")
    layers = candidate_layers(
        config.dola_layers,
        model.config.get_text_config().num_hidden_layers,
        tied_embeddings=bool(getattr(model.config, "tie_word_embeddings", False)),
    )
    call = open_call(
        model,
        input_ids,
        stopping_criteria,
        config,
        model_kwargs,
        logits_processor=logits_processor,
        mode="DoLa",
        refused={},
        hidden=True,
    )
    rules, select = _dola_selection(call, config, input_ids.shape[0])
    sequences = dola(
        call.stepper,
        History(input_ids),
        select,
        call.stopping,
        layers=layers,
        rules=rules,
        **_heard(call, streamer),
    )
    return _result(call, sequences, streamer)


REMOVED_MODES: dict[str, Callable[..., Any]] = {
    GenerationMode.GROUP_BEAM_SEARCH: run_group_beam,
    GenerationMode.CONSTRAINED_BEAM_SEARCH: run_constrained_beam,
    GenerationMode.CONTRASTIVE_SEARCH: run_contrastive,
    GenerationMode.DOLA_GENERATION: run_dola,
}


def _heard(call: Call, streamer: Any) -> dict[str, Any]:
    """Who sees the tokens of a loop and what finished rows are given."""
    on_tokens = None if streamer is None else (lambda token_ids: streamer.put(token_ids.cpu()))
    return {"pad_token_id": call.pad_token_id, "recorder": call.recorder, "on_tokens": on_tokens}


def _result(call: Call, sequences: Tensor, streamer: Any) -> Any:
    if streamer is not None:
        streamer.end()
    return call.output(sequences.clone())


def _dola_selection(call: Call, config: Any, batch_size: int) -> tuple[Any, Select]:
    """The rules that stay rules, and what picks a token."""
    require_draws(config, call.request)
    if not config.do_sample:
        return call.rules, greedy
    if not call.request.rows and call.request.seeds is None:
        return call.rules, _multinomial
    if call.recorder is not None and call.recorder.scores is not None:
        raise ValueError("output_scores must be off for DoLa with per-row filters or seeds; got True")
    return build_sampler(call.rules, call.request, batch_size, config.num_return_sequences or 1)


def _multinomial(logits: Tensor, *, step: int, rows: Tensor | None = None) -> Tensor:
    """One draw per row of ``logits`` [N, V] from torch's own stream, as the library draws it."""
    probs = torch.softmax(logits, dim=-1)
    try:
        return torch.multinomial(probs, num_samples=1).squeeze(1)
    except RuntimeError as error:
        bad = (~probs.isfinite()).any(dim=-1).nonzero().flatten().tolist()
        if not bad:
            raise
        raise ValueError(f"logits must leave a token to draw; got none in row {bad[0]} at step {step}") from error


def _refuse_stateful(model: Any, mode: str) -> None:
    if getattr(model, "_is_stateful", False):
        raise ValueError(_STATEFUL.format(mode=mode, name=type(model).__name__))
