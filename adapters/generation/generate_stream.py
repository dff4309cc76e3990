"""``generate_stream``: any number of prompts through one running batch, each with options of its own."""

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...decoding.options.validation import check_count
from ...decoding.search.row_requests import FinishedRow, RowRequest
from ...decoding.search.running_batch import AdmittingStepModel, RunningBatch
from .capturing import capture
from .joinable import why_rows_cannot_join
from .request import Request
from .rotary_lengths import longest_in_company
from .row_plans import RowPlans, options_of
from .running_model import BatchAfterBatch, RunningModel
from .step_model import AutoStepModel

__all__ = ["GeneratedRow", "generate_stream", "running_model", "stream_rows"]

_WARNED: set[tuple[str, str]] = set()


@dataclass(frozen=True, eq=False)
class GeneratedRow:
    """What one prompt was given. index: of the prompt, from 0. token_ids: [P + T] int64 on the CPU, prompt and T new.

    reason: why it ended: "eos", "length", "stop" (a stop string or criterion) or "time".
    """

    index: int
    token_ids: Tensor
    prompt_length: int
    reason: str

    @property
    def new_ids(self) -> Tensor:
        """The new tokens, [T]; the end token is the last of them where the row ended with one."""
        return self.token_ids[self.prompt_length :]


def generate_stream(
    model: Any,
    prompts: Iterable[Any],
    *,
    max_rows: int = 32,
    ordered: bool = False,
    seeds: Any = None,
    attention_mask: Tensor | None = None,
    **options: Any,
) -> Iterator[GeneratedRow]:
    """Generate for a stream of prompts, ``max_rows`` at a time: rows that end leave, waiting prompts take their places.

    prompts: token ids each (a list, an array or a tensor [P]), or a mapping with ``input_ids`` (and ``attention_mask``)
    and options for this prompt alone, ``seed`` among them; a tensor [B, P] with ``attention_mask`` is B prompts. Read
    as rows become free.
    ordered: yield results in the order of the prompts; otherwise as they end.
    options: as ``generate`` takes them for greedy decoding and sampling, one value for all or one per prompt where
    ``generate`` takes one per prompt. seeds: ints by the number of the prompt; without, sampling draws a seed for each
    prompt from torch's generator, in the order of the prompts.
    A prompt has the tokens of a ``generate(model, prompt, seeds=[seed])`` of its own, up to near ties that other matrix
    sizes may round differently. Models whose rows cannot join (encoder-decoders, caches that hold more than keys and
    values) are decoded batch after batch, which one warning says with the reason.
    Raises ValueError for beams, assistants, returned dicts and several returned sequences, and what ``generate`` raises
    for a prompt, with the prompt's number.
    >>> for row in generate_stream(model, prompts, max_rows=64, max_new_tokens=100):  # doctest: +SKIP
    ...     print(row.index, tokenizer.decode(row.new_ids))
    """
    check_count("max_rows", max_rows)
    if isinstance(prompts, Mapping | str | bytes):
        raise TypeError(f"prompts must be an iterable of prompts; got {type(prompts).__name__}")
    plans = RowPlans(model)
    requests = _requests(plans, prompts, attention_mask, seeds, options)
    batch = RunningBatch(running_model(model, max_rows=max_rows, options=options), max_rows=max_rows)
    ended = stream_rows(batch, requests)
    return _in_order(ended) if ordered else _as_they_end(ended)


def running_model(
    model: Any, *, max_rows: int, options: Mapping[str, Any] | None = None, warn: bool = True
) -> AdmittingStepModel:
    """The model of a running batch; one whose batches follow each other where rows cannot join, said once."""
    reason = why_rows_cannot_join(model)
    pad = _pad_of(model)
    if reason is None:
        return RunningModel(model, max_rows=max_rows, pad_token_id=pad)
    name = type(model).__name__
    if warn and (name, reason) not in _WARNED:
        _WARNED.add((name, reason))
        warnings.warn(
            f"{name} is decoded batch after batch, prompts cannot join a batch that runs: {reason}.",
            RuntimeWarning,
            stacklevel=3,
        )
    cache = {key: value for key, value in (options or {}).items() if key in ("use_cache", "cache_implementation")}

    def open_batch(ids: Tensor, mask: Tensor) -> AutoStepModel:
        found = capture(model, Request(), ids, {**cache, "max_new_tokens": 1, "pad_token_id": pad}, mask)
        return AutoStepModel(model, found.input_ids, found.model_kwargs, found.prepared["generation_config"])

    longest = longest_in_company(model.config)
    return BatchAfterBatch(open_batch, model.device, pad, reads_source=model.config.is_encoder_decoder, longest=longest)


def stream_rows(batch: RunningBatch, requests: Iterable[RowRequest]) -> Iterator[FinishedRow]:
    """Run ``requests`` through ``batch``, reading as many ahead as it has rows; yield them as they end."""
    coming = iter(requests)
    more = True
    while more or not batch.idle:
        while more and len(batch.waiting) < batch.max_rows:
            request = next(coming, None)
            if request is None:
                more = False
            else:
                batch.submit(request)
        yield from batch.step()


def _requests(
    plans: RowPlans, prompts: Iterable[Any], attention_mask: Tensor | None, seeds: Any, options: Mapping[str, Any]
) -> Iterator[RowRequest]:
    """A row for each prompt, with its own options and seed where it is a mapping; what is wrong names the prompt."""
    for number, prompt in enumerate(prompts):
        own: dict[str, Any] = {}
        mask = _of_prompt("attention_mask", attention_mask, number)
        if isinstance(prompt, Mapping):
            own = {str(name): value for name, value in prompt.items()}
            if "input_ids" not in own:
                raise ValueError(f"prompt {number}: input_ids must be given; got {sorted(own)}")
            prompt, mask = own.pop("input_ids"), own.pop("attention_mask", mask)
        seed = own.pop("seed") if "seed" in own else _of_prompt("seeds", seeds, number)
        try:
            ids = as_prompt(prompt, mask, plans.model.device)
            yield plans.row(ids, {**options_of(options, number), **own}, seed=seed, tag=number)
        except (TypeError, ValueError) as error:
            raise type(error)(f"prompt {number}: {error}") from error


def _of_prompt(name: str, values: Any, number: int) -> Any:
    """The value of prompt ``number`` in what holds one for each; None where nothing is given."""
    if values is None:
        return None
    try:
        return values[number]
    except (IndexError, TypeError):
        got = len(values) if hasattr(values, "__len__") else type(values).__name__
        raise ValueError(f"{name} must have one value for each prompt; got {got} for prompt {number}") from None


def as_prompt(token_ids: Any, mask: Any = None, device: Any = None) -> Tensor:
    """The token ids of one prompt, [P] int64, without what its mask leaves out.

    >>> as_prompt([[0, 5, 6]], [[0, 1, 1]])
    tensor([5, 6])
    """
    given = np.asarray(token_ids) if isinstance(token_ids, Sequence) else token_ids
    if isinstance(given, np.ndarray) and given.dtype.kind not in "iufb":
        raise TypeError(f"input_ids must be whole numbers; got {token_ids!r:.60}")
    ids = torch.as_tensor(given)
    if ids.numel() and (ids.is_floating_point() or ids.dtype == torch.bool):  # an empty list has no type of its own
        raise TypeError(f"input_ids must be whole numbers; got {ids.dtype}")
    ids = ids.reshape(-1) if ids.ndim == 2 and ids.shape[0] == 1 else ids
    if ids.ndim != 1 or not ids.numel():
        raise ValueError(f"input_ids must have shape [P], P >= 1; got {list(ids.shape)}")
    if mask is not None:
        ids = ids[torch.as_tensor(mask).reshape(-1).to(ids.device) != 0]
        if not ids.numel():
            raise ValueError("attention_mask must leave a token of the prompt; got none")
    return ids.long().to(device)


def _pad_of(model: Any) -> int:
    """A token to fill prompts up with: masked out, so that any does."""
    config = getattr(model, "generation_config", None)
    for name in ("pad_token_id", "eos_token_id"):
        value = getattr(config, name, None)
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, int) and value >= 0:
            return value
    return 0


def _generated(ended: FinishedRow) -> GeneratedRow:
    if ended.error is not None:
        error = ended.error
        kind = type(error) if type(error) in (TypeError, ValueError, IndexError, RuntimeError) else RuntimeError
        raise kind(f"prompt {ended.request.tag}: {error}") from error
    return GeneratedRow(ended.request.tag, ended.token_ids, ended.prompt_length, ended.reason)


def _as_they_end(ended: Iterator[FinishedRow]) -> Iterator[GeneratedRow]:
    for row in ended:
        yield _generated(row)


def _in_order(ended: Iterator[FinishedRow]) -> Iterator[GeneratedRow]:
    held: dict[int, FinishedRow] = {}
    due = 0
    for row in ended:
        held[row.request.tag] = row
        while due in held:
            yield _generated(held.pop(due))
            due += 1
