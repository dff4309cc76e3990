"""Contrastive search, which transformers 5 no longer runs itself; it follows 4.55.4."""

from typing import Any

from torch import Tensor

from ....decoding.search.contrastive import contrastive_search
from ....decoding.search.history import History
from ..model_inputs import CACHE
from .prepared_call import Mode, open_call, processors_of_4_55

__all__ = ["refuse_stateful", "run_contrastive"]

_REFUSED = {"draws": "it draws nothing", "grammars": "it may choose a token of probability 0"}
MODE = Mode("contrastive search", _REFUSED, hidden=True)


def run_contrastive(model: Any, input_ids: Tensor, **prepared: Any) -> Any:
    """Contrastive search from the inputs that ``generate`` prepared."""
    if not prepared.get("use_cache", True):
        raise ValueError("use_cache must be True for contrastive search; got False")
    refuse_stateful(model, MODE.name)
    if getattr(prepared.get(CACHE), "is_compileable", False):
        kind = type(prepared[CACHE]).__name__
        raise ValueError(f"the cache must be one that grows, for contrastive search tries tokens out; got a {kind}")
    mask = prepared.get("decoder_attention_mask" if model.config.is_encoder_decoder else "attention_mask")
    call = open_call(MODE, model, input_ids, **prepared)
    sequences = contrastive_search(
        call.stepper,
        History(call.input_ids),
        call.stopping,
        penalty_alpha=call.config.penalty_alpha,
        top_k=call.config.top_k,
        prompt_mask=mask,
        rules=processors_of_4_55(call.processors),
        pad_token_id=call.pad_token_id,
        recorder=call.recorder,
        on_tokens=call.on_tokens,
        late_stop=call.recorder is None
        and call.streamer is None
        and call.may_stop_late()
        and all(map(_may_run_on, call.processors)),
    )
    if call.recorder is not None and hasattr(call.stepper.cache, "crop"):
        call.stepper.cache.crop(-1)  # the model is one token ahead of the sequences
    return call.output(sequences)


def _may_run_on(processor: Any) -> bool:
    """Whether nobody minds a call more: not so of a caller's own processor."""
    return type(processor).__module__.startswith(("transformers.", "afterlogits."))


def refuse_stateful(model: Any, mode: str) -> None:
    """Raise ValueError for a model whose state cannot be taken back."""
    if getattr(model, "_is_stateful", False):
        name = type(model).__name__
        raise ValueError(f"{mode} needs a model whose cache can go back to an earlier step; got {name}")
