"""The four modes that transformers 5 no longer runs itself: group beam, constrained beam, contrastive search and DoLa.

They follow transformers 4.55.4, the last version with loops of its own for them, and so do the processors on their way:
a repetition penalty counts the padding of a prompt as tokens.
"""

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.generation import GenerationMode, logits_process

from ..decoding.constrained_beam import constrained_beam_search
from ..decoding.contrastive import contrastive_search
from ..decoding.dola import candidate_layers, dola
from ..decoding.group_beam import ScoreRule, group_beam_search
from ..decoding.history import History
from ..decoding.loop import greedy
from ..decoding.phrases import Constraint, DisjunctiveConstraint, PhrasalConstraint, read_force_words
from .outputs import OutputRecorder
from .request import Request, current_request
from .step_model import AutoStepModel

__all__ = ["REMOVED_MODES", "HiddenAutoStepModel"]

_STATEFUL = "{mode} needs a model whose cache can go back to an earlier step; got {name}"


class HiddenAutoStepModel(AutoStepModel):
    """An AutoStepModel that keeps its last outputs and shows their hidden states (see ``HiddenStepModel``)."""

    def __init__(self, model: Any, input_ids: Tensor, model_kwargs: dict[str, Any], config: Any, *, follow_rows: bool):
        model_kwargs["output_hidden_states"] = True
        super().__init__(model, input_ids, model_kwargs, config, keep_outputs=True)
        self.follow_rows = follow_rows

    def last_hidden(self) -> Tensor:
        hidden: Tensor = self._hidden_states()[-1]
        return hidden

    def early_logits(self, layers: Sequence[int]) -> Tensor:
        head = self.model.get_output_embeddings()
        hidden_states = self._hidden_states()
        return torch.stack([head(hidden_states[layer][:, -1]).to(self.history.ids.device) for layer in layers])

    def select_rows(self, rows: Tensor) -> None:
        super().select_rows(rows)
        if not self.follow_rows or self.outputs is None:
            return
        for name in ("hidden_states", "decoder_hidden_states", "attentions", "decoder_attentions", "cross_attentions"):
            layers = getattr(self.outputs, name, None)
            if layers is not None:
                setattr(self.outputs, name, tuple(layer.index_select(0, rows.to(layer.device)) for layer in layers))

    def _hidden_states(self) -> Any:
        return self.outputs.decoder_hidden_states if self.is_encoder_decoder else self.outputs.hidden_states


def run_group_beam(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> Any:
    """Group beam search from the inputs that ``generate`` prepared."""
    config = generation_config
    num_groups = config.num_beam_groups
    rules = _rules(logits_processor, rows_per_item=config.num_beams // num_groups)
    # The penalty's place in 4.55.4 is right after these two.
    first = (
        logits_process.UnbatchedClassifierFreeGuidanceLogitsProcessor,
        logits_process.SequenceBiasLogitsProcessor,
    )
    split = next((index for index, rule in enumerate(rules) if type(rule) not in first), len(rules))
    stepper, stopping, recorder = _prepare(
        model, input_ids, stopping_criteria, config, model_kwargs, copies=config.num_beams
    )
    beams = group_beam_search(
        stepper,
        input_ids,
        stopping,
        num_beams=config.num_beams,
        num_beam_groups=num_groups,
        diversity_penalty=config.diversity_penalty or 0.0,
        before_diversity=rules[:split],
        after_diversity=rules[split:],
        recorder=recorder,
        **_beam_options(config, input_ids),
    )
    return _beam_result(beams, recorder, config)


def run_constrained_beam(
    model: Any,
    input_ids: Tensor,
    logits_processor: Any,
    stopping_criteria: Any,
    generation_config: Any,
    **model_kwargs: Any,
) -> Any:
    """Constrained beam search from the inputs that ``generate`` prepared."""
    config = generation_config
    if config.num_beams < 2:
        raise ValueError(f"num_beams must be at least 2 for constrained generation; got {config.num_beams}")
    stepper, stopping, recorder = _prepare(
        model, input_ids, stopping_criteria, config, model_kwargs, copies=config.num_beams
    )
    beams = constrained_beam_search(
        stepper,
        input_ids,
        stopping,
        constraints=_constraints(config),
        num_beams=config.num_beams,
        rules=_rules(logits_processor, rows_per_item=config.num_beams),
        recorder=recorder,
        **_beam_options(config, input_ids),
    )
    return _beam_result(beams, recorder, config)


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
    config = generation_config
    if not model_kwargs.get("use_cache", True):
        raise ValueError("use_cache must be True for contrastive search; got False")
    _refuse_stateful(model, "contrastive search")
    is_encoder_decoder = model.config.is_encoder_decoder
    mask = model_kwargs.get("decoder_attention_mask" if is_encoder_decoder else "attention_mask")
    stepper, stopping, recorder = _prepare(model, input_ids, stopping_criteria, config, model_kwargs, hidden=True)
    sequences = contrastive_search(
        stepper,
        History(input_ids),
        stopping,
        penalty_alpha=config.penalty_alpha,
        top_k=config.top_k,
        prompt_mask=mask,
        rules=_rules(logits_processor, rows_per_item=1),
        pad_token_id=_pad(stopping_criteria, config, input_ids),
        recorder=recorder,
        on_tokens=None if streamer is None else (lambda token_ids: streamer.put(token_ids.cpu())),
    )
    if streamer is not None:
        streamer.end()
    if recorder is not None and hasattr(stepper.cache, "crop"):
        stepper.cache.crop(-1)  # the model is one token ahead of the sequences
    return sequences.clone() if recorder is None else recorder.output(sequences.clone())


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
    config = generation_config
    _refuse_stateful(model, "DoLa")
    if model.config.is_encoder_decoder:
        raise ValueError(f"dola_layers must be unset for encoder-decoder models; got {config.dola_layers!r}")
    if model.get_output_embeddings() is None:
        raise ValueError(f"dola_layers must be unset for models without an output head; got {config.dola_layers!r}")
    text_config = model.config.get_text_config()
    layers = candidate_layers(
        config.dola_layers,
        text_config.num_hidden_layers,
        tied_embeddings=bool(getattr(model.config, "tie_word_embeddings", False)),
    )
    stepper, stopping, recorder = _prepare(model, input_ids, stopping_criteria, config, model_kwargs, hidden=True)
    sequences = dola(
        stepper,
        History(input_ids),
        _multinomial if config.do_sample else greedy,
        stopping,
        layers=layers,
        rules=_rules(logits_processor, rows_per_item=1),
        pad_token_id=_pad(stopping_criteria, config, input_ids),
        recorder=recorder,
        on_tokens=None if streamer is None else (lambda token_ids: streamer.put(token_ids.cpu())),
    )
    if streamer is not None:
        streamer.end()
    return sequences.clone() if recorder is None else recorder.output(sequences.clone())


REMOVED_MODES: dict[str, Callable[..., Any]] = {
    GenerationMode.GROUP_BEAM_SEARCH: run_group_beam,
    GenerationMode.CONSTRAINED_BEAM_SEARCH: run_constrained_beam,
    GenerationMode.CONTRASTIVE_SEARCH: run_contrastive,
    GenerationMode.DOLA_GENERATION: run_dola,
}


def _prepare(
    model: Any,
    input_ids: Tensor,
    stopping_criteria: Any,
    config: Any,
    model_kwargs: dict[str, Any],
    *,
    copies: int = 1,
    hidden: bool = False,
) -> tuple[Any, Any, OutputRecorder | None]:
    from .engine import read_criteria  # the engine's methods lead here

    request: Request = model_kwargs.pop("request", None) or current_request()
    if request.asks_for_more:
        raise ValueError(
            f"per-row options and seeds must be left out in this mode; got {config.get_generation_mode().value}"
        )
    if model_kwargs.pop("synced_gpus", False):
        raise ValueError(f"synced_gpus must be False in this mode; got True for {config.get_generation_mode().value}")
    for name in ("tokenizer", "assistant_model", "assistant_tokenizer"):
        model_kwargs.pop(name, None)
    needs_outputs = OutputRecorder.needs_outputs(config)
    stepper: AutoStepModel
    if hidden:
        stepper = HiddenAutoStepModel(model, input_ids, model_kwargs, config, follow_rows=needs_outputs)
    else:
        stepper = AutoStepModel(model, input_ids, model_kwargs, config, copies=copies, keep_outputs=needs_outputs)
    stopping, _ = read_criteria(stopping_criteria)
    return stepper, stopping, OutputRecorder(stepper, config) if config.return_dict_in_generate else None


def _pad(stopping_criteria: Any, config: Any, input_ids: Tensor) -> Tensor | None:
    """The pad token, if finished rows are padded at all: if some criterion knows an EOS."""
    pad: Tensor | None = config._pad_token_tensor
    has_eos = any(hasattr(criterion, "eos_token_id") for criterion in stopping_criteria)
    return pad.to(input_ids.device) if has_eos and pad is not None else None


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


def _beam_result(beams: Any, recorder: OutputRecorder | None, config: Any) -> Any:
    if recorder is None:
        return beams.token_ids
    return recorder.output(
        beams.token_ids,
        sequences_scores=beams.scores if config.output_scores else None,
        beam_indices=beams.beam_indices,
    )


def _rules(logits_processor: Any, *, rows_per_item: int) -> list[ScoreRule]:
    """The processors as 4.55.4 would have built them, for ``rows_per_item`` rows of each item at a time."""
    rules: list[ScoreRule] = []
    for processor in logits_processor:
        if type(processor) is logits_process.RepetitionPenaltyLogitsProcessor:
            if isinstance(getattr(processor, "prompt_ignore_length", None), Tensor):
                processor = copy.copy(processor)
                processor.prompt_ignore_length = None
        elif type(processor) is logits_process.PrefixConstrainedLogitsProcessor:
            processor = copy.copy(processor)
            processor._num_beams = rows_per_item
        rules.append(processor)
    return rules


def _constraints(config: Any) -> list[Constraint]:
    constraints = []
    for constraint in config.constraints or ():
        if not isinstance(constraint, (PhrasalConstraint, DisjunctiveConstraint)):
            raise TypeError(
                "constraints must be PhrasalConstraint or DisjunctiveConstraint of afterlogits.decoding.phrases; "
                f"got {type(constraint).__name__}"
            )
        constraints.append(constraint)
    if config.force_words_ids is not None:
        constraints += read_force_words(config.force_words_ids)
    return constraints


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
