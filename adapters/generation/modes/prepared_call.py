"""What ``generate`` prepared for a mode, taken apart once: model, processors, when rows end, who listens.

The modes that transformers 5 no longer runs get the processors of 4.55.4: a repetition penalty there counts the padding
of a prompt as tokens.
"""

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from transformers.generation import logits_process

from ....decoding.search.stopping import Stopping
from ..grammar import GrammarProcessor
from ..hidden_model import HiddenAutoStepModel
from ..outputs import OutputRecorder
from ..request import DRAWS, ENDS, Request, current_request
from ..row_hooks import sees_rows
from ..row_rules import RowRule, with_row_rules
from ..step_model import AutoStepModel
from ..stopping import add_row_limits, read_criteria

__all__ = ["Mode", "PreparedCall", "open_call", "processors_of_4_55"]

# What belongs to the call, not to the model's forward, where transformers hands it to a loop that does not name it.
_NOT_FOR_THE_MODEL = ("tokenizer", "assistant_model", "assistant_tokenizer", "synced_gpus")


@dataclass(frozen=True)
class Mode:
    """What one mode asks of a call before its loop runs.

    name: in errors. refused: why the per-row ends (``"ends"``), the options of a draw (``"draws"``) or grammars
    (``"grammars"``) are refused.
    beams: a prompt's rows are its beams, not its returned sequences. hidden: the loop reads hidden states.
    """

    name: str
    refused: Mapping[str, str] = field(default_factory=dict)
    beams: bool = False
    hidden: bool = False

    def copies(self, config: Any) -> int:
        """The neighbouring rows that stem from one prompt."""
        return int(config.num_beams) if self.beams else max(1, int(config.num_return_sequences or 1))


@dataclass(frozen=True)
class PreparedCall:
    """One call: the prompt [N, P] of ``copies`` rows each, and everything its loop is given.

    pad_token_id: what finished rows are given; None where nothing tells transformers to pad them.
    """

    model: Any
    config: Any
    input_ids: Tensor
    copies: int
    request: Request
    processors: list[Any]
    stepper: Any
    stopping: Stopping
    pad_token_id: Tensor | None
    recorder: OutputRecorder | None
    streamer: Any

    def may_stop_late(self) -> bool:
        """Whether the model may read a token more than is needed: nobody sees its cache.

        On the CPU nothing would be gained by it.
        """
        if self.input_ids.device.type == "cpu":
            return False
        return bool(self.stepper.may_take_back()) and not sees_rows(self.model)

    @property
    def on_tokens(self) -> Callable[[Tensor], None] | None:
        """Tells the streamer of a step's tokens."""
        streamer = self.streamer
        return None if streamer is None else (lambda token_ids: streamer.put(token_ids.cpu()))

    def output(self, sequences: Tensor) -> Any:
        """What ``generate`` returns for ``sequences``; the streamer hears that it was the last token."""
        if self.streamer is not None:
            self.streamer.end()
        sequences = sequences.clone()
        return sequences if self.recorder is None else self.recorder.output(sequences)

    def beam_output(self, beams: Any) -> Any:
        """What ``generate`` returns for the best hypotheses."""
        if self.recorder is None:
            return beams.token_ids
        return self.recorder.output(
            beams.token_ids,
            sequences_scores=beams.scores if self.config.output_scores else None,
            beam_indices=beams.beam_indices,
        )


def open_call(
    mode: Mode,
    model: Any,
    input_ids: Tensor,
    *,
    logits_processor: Iterable[Any],
    stopping_criteria: Any,
    generation_config: Any,
    request: Request | None = None,
    streamer: Any = None,
    **model_kwargs: Any,
) -> PreparedCall:
    """Take a call apart; the arguments are those transformers hands to a decoding loop of its own.

    Raises ValueError for options that ``mode`` has no use for.
    """
    config, input_ids = generation_config, input_ids.long()
    if request is None:
        request = current_request(config, input_ids.shape[0] // mode.copies(config))
    for kind, names in (("draws", DRAWS), ("ends", ENDS)):
        if kind in mode.refused:
            request.refuse(names, mode.name, mode.refused[kind])
    grammar = next((one for one in logits_processor if isinstance(one, GrammarProcessor)), None)
    if grammar is not None and "grammars" in mode.refused:
        raise ValueError(f"{grammar.kind} must not be given for {mode.name}: {mode.refused['grammars']}")
    if model_kwargs.get("synced_gpus"):
        raise ValueError(f"synced_gpus must be False for {mode.name}; got True")
    for name in _NOT_FOR_THE_MODEL:
        model_kwargs.pop(name, None)
    copies = mode.copies(config)
    processors = with_row_rules(list(logits_processor), request, config, input_ids, model_kwargs, copies)
    needs_outputs = OutputRecorder.needs_outputs(config)
    stepper: AutoStepModel
    if mode.hidden:
        stepper = HiddenAutoStepModel(model, input_ids, model_kwargs, config, follow_rows=needs_outputs)
    else:
        stepper = AutoStepModel(
            model,
            input_ids,
            model_kwargs,
            config,
            copies=copies,
            shared_prefill=request.shared_prefill and copies > 1 and not sees_rows(model),
            keep_outputs=needs_outputs,
        )
    stopping, has_eos = read_criteria(stopping_criteria, input_ids.device)
    has_row_limits = add_row_limits(stopping, request, config, input_ids)
    pad = config._pad_token_tensor if has_eos or has_row_limits else None
    return PreparedCall(
        model=model,
        config=config,
        input_ids=input_ids,
        copies=copies,
        request=request,
        processors=processors,
        stepper=stepper,
        stopping=stopping,
        pad_token_id=None if pad is None else pad.to(input_ids.device),
        recorder=OutputRecorder(stepper, config) if config.return_dict_in_generate else None,
        streamer=streamer,
    )


def processors_of_4_55(processors: Iterable[Any], *, rows_per_item: int = 1) -> list[Any]:
    """The processors as 4.55.4 would have built them, for ``rows_per_item`` rows of each item at a time."""
    earlier: list[Any] = []
    for processor in processors:
        if type(processor) is logits_process.RepetitionPenaltyLogitsProcessor:
            if isinstance(getattr(processor, "prompt_ignore_length", None), Tensor):
                processor = copy.copy(processor)
                processor.prompt_ignore_length = None
        elif isinstance(processor, RowRule):
            processor = replace(processor, ignore_length=0)
        elif type(processor) is logits_process.PrefixConstrainedLogitsProcessor:
            processor = copy.copy(processor)
            processor._num_beams = rows_per_item
        earlier.append(processor)
    return earlier
