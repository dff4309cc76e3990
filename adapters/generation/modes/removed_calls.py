"""What a call of a mode that transformers 5 no longer runs needs, whichever of the four it is.

The processors on their way are those of 4.55.4: a repetition penalty counts the padding of a prompt as tokens.
"""

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from transformers.generation import logits_process

from ....decoding.search.group_beam import ScoreRule
from ....decoding.search.stopping import Stopping
from ..hidden_model import HiddenAutoStepModel
from ..outputs import OutputRecorder
from ..request import DRAWS, ENDS, Request, current_request
from ..row_rules import RowRule, with_row_rules
from ..step_model import AutoStepModel
from ..stopping import add_row_limits, read_criteria

__all__ = ["Call", "open_call"]


@dataclass(frozen=True)
class Call:
    """One call: the model, its prompt, when rows end, what finished rows are given, and what is written down."""

    stepper: Any
    stopping: Stopping
    pad_token_id: Tensor | None
    recorder: OutputRecorder | None
    request: Request
    rules: list[ScoreRule]

    def output(self, sequences: Tensor, **beams: Any) -> Any:
        """What ``generate`` returns for ``sequences``."""
        return sequences if self.recorder is None else self.recorder.output(sequences, **beams)


def open_call(
    model: Any,
    input_ids: Tensor,
    stopping_criteria: Any,
    config: Any,
    model_kwargs: dict[str, Any],
    *,
    logits_processor: Iterable[Any],
    mode: str,
    refused: dict[str, str],
    copies: int = 1,
    rows_per_item: int = 1,
    hidden: bool = False,
) -> Call:
    """Take a call apart. refused: why the per-row ends (``"ends"``) or the options of a draw (``"draws"``) are refused.

    copies: rows of one prompt, for beams, and rows_per_item how many of them the rules are shown at a time. hidden:
    show hidden states.
    """
    request: Request = model_kwargs.pop("request", None) or current_request()
    for kind, names in (("draws", DRAWS), ("ends", ENDS)):
        if kind in refused:
            request.refuse(names, mode, refused[kind])
    if model_kwargs.pop("synced_gpus", False):
        raise ValueError(f"synced_gpus must be False for {mode}; got True")
    for name in ("tokenizer", "assistant_model", "assistant_tokenizer"):
        model_kwargs.pop(name, None)
    neighbours = copies if copies > 1 else config.num_return_sequences or 1
    processors = with_row_rules(list(logits_processor), request, config, input_ids, model_kwargs, neighbours)
    needs_outputs = OutputRecorder.needs_outputs(config)
    stepper: AutoStepModel
    if hidden:
        stepper = HiddenAutoStepModel(model, input_ids, model_kwargs, config, follow_rows=needs_outputs)
    else:
        stepper = AutoStepModel(model, input_ids, model_kwargs, config, copies=copies, keep_outputs=needs_outputs)
    stopping, has_eos = read_criteria(stopping_criteria)
    has_row_limits = add_row_limits(stopping, request, config, input_ids)
    pad = config._pad_token_tensor if has_eos or has_row_limits else None
    recorder = OutputRecorder(stepper, config) if config.return_dict_in_generate else None
    rules = _rules_of(processors, rows_per_item=rows_per_item)
    return Call(stepper, stopping, None if pad is None else pad.to(input_ids.device), recorder, request, rules)


def _rules_of(logits_processor: Iterable[Any], *, rows_per_item: int) -> list[ScoreRule]:
    """The processors as 4.55.4 would have built them, for ``rows_per_item`` rows of each item at a time."""
    rules: list[ScoreRule] = []
    for processor in logits_processor:
        if type(processor) is logits_process.RepetitionPenaltyLogitsProcessor:
            if isinstance(getattr(processor, "prompt_ignore_length", None), Tensor):
                processor = copy.copy(processor)
                processor.prompt_ignore_length = None
        elif isinstance(processor, RowRule):
            processor = replace(processor, ignore_length=0)
        elif type(processor) is logits_process.PrefixConstrainedLogitsProcessor:
            processor = copy.copy(processor)
            processor._num_beams = rows_per_item
        rules.append(processor)
    return rules
