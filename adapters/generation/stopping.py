"""When the rows of a call end: transformers' criteria, and the ends that a request gives its rows."""

from typing import Any

import torch
from torch import Tensor
from transformers.generation import stopping_criteria as criteria

from ...decoding.options.numpy_or_torch import sent
from ...decoding.search.stopping import Stopping
from .request import Request, per_row

__all__ = ["add_row_limits", "read_criteria"]


# Criteria that are functions of what they are given.
_OF_IDS = (criteria.EosTokenCriteria, criteria.MaxLengthCriteria, criteria.MaxTimeCriteria, criteria.StopStringCriteria)


def add_row_limits(stopping: Stopping, request: Request, config: Any, input_ids: Tensor) -> bool:
    """Add the request's per-row ends to ``stopping``; whether there are any, so that finished rows need a pad."""
    batch_size, prompt_length = input_ids.shape
    copies = max(1, int(config.num_return_sequences or 1))
    if request.max_new_tokens is not None:
        limits = per_row("max_new_tokens", request.max_new_tokens, batch_size, copies)
        stopping.row_max_length = torch.tensor(limits, device=input_ids.device) + prompt_length
    if request.eos_token_id is not None:
        rows = [[one] if isinstance(one, int) else list(one) for one in request.eos_token_id]
        rows = per_row("eos_token_id", rows, batch_size, copies)
        width = max(len(row) for row in rows)
        table = [row + [-1] * (width - len(row)) for row in rows]
        stopping.row_eos_token_id = torch.tensor(table, device=input_ids.device)
        stopping.eos_token_id = None
    added = request.max_new_tokens is not None or request.eos_token_id is not None
    if added and config._pad_token_tensor is None:
        raise ValueError("pad_token_id must be given for rows that end at different lengths; got None")
    return added


def read_criteria(stopping_criteria: Any, device: torch.device) -> tuple[Stopping, bool]:
    """Transformers' criteria as a Stopping, and whether finished rows are padded (some criterion knows an EOS).

    A caller's own criterion may keep its tokens on the host: they are sent to ``device`` once.
    """
    stopping = Stopping()
    others = []
    has_eos = False
    for criterion in stopping_criteria:
        has_eos = has_eos or hasattr(criterion, "eos_token_id")
        if type(criterion) is criteria.MaxLengthCriteria:
            shorter = stopping.max_length is None or criterion.max_length < stopping.max_length
            stopping.max_length = criterion.max_length if shorter else stopping.max_length
        elif type(criterion) is criteria.EosTokenCriteria and stopping.eos_token_id is None:
            stopping.eos_token_id = sent(criterion.eos_token_id, device)
        elif type(criterion) is criteria.MaxTimeCriteria and stopping.deadline is None:
            stopping.deadline = criterion.initial_timestamp + criterion.max_time
        else:
            others.append(criterion)
    stopping.criteria = tuple(others)
    stopping.repeatable = all(type(criterion) in _OF_IDS for criterion in others)
    return stopping, has_eos
