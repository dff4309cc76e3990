"""The choice of a token for rows of unlike options: one sampler for all rows whose options can stand in one table."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..sampling.params import SamplingParams
from ..sampling.sample import Sampler
from .row_requests import RowRequest

__all__ = ["RowChoice"]

# What a list of one value a row holds for a row that does not ask for the option.
_OFF: dict[str, float] = {
    "top_k": 0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_n_sigma": 0.0,
    "xtc_probability": 0.0,
}
_PER_ROW = ("temperature", "dynamic_temperature", "dynamic_exponent", "xtc_threshold", *_OFF)
_GREEDY = SamplingParams(temperature=0.0)


@dataclass
class _Group:
    """Rows that one sampler serves, or that take their most probable token (None). places: where they are, of N."""

    sampler: Sampler | None
    places: list[int]


class RowChoice:
    """Picks the next token of each of the rows ``requests``, by each row's own options and seed.

    A row's token depends on its logits, its options, its seed and how many tokens it has: on no other row.
    Cost: of one ``Sampler`` for rows that differ in numbers alone, of one more for each kind that cannot share it.
    """

    def __init__(self, requests: Sequence[RowRequest], vocab_size: int, device: torch.device) -> None:
        kinds: dict[Any, list[int]] = {}
        for place, request in enumerate(requests):
            kinds.setdefault(_kind(request.params), []).append(place)
        if len(kinds) > 1 and None in kinds:  # most probable tokens ride along with one of the samplers
            mixed = next(kind for kind in kinds if kind is not None)
            kinds[mixed] = sorted([*kinds[mixed], *kinds.pop(None)])
        self.count = len(requests)
        self.groups = [
            _Group(
                None if kind is None else _sampler([requests[place] for place in places], vocab_size, device), places
            )
            for kind, places in kinds.items()
        ]

    def select(self, logits: Tensor, *, rows: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """The tokens [N] for ``logits`` [N, V] of the rows numbered ``rows``, which have ``lengths`` new tokens."""
        if len(self.groups) == 1:
            return self._choose(self.groups[0], logits, list(rows), lengths)
        at = {row: place for place, row in enumerate(rows)}
        tokens = torch.empty(len(rows), dtype=torch.int64, device=logits.device)
        for group in self.groups:
            here = [row for row in group.places if row in at]
            if here:
                places = torch.tensor([at[row] for row in here], device=logits.device)
                own = [lengths[at[row]] for row in here]
                tokens[places] = self._choose(group, logits[places], here, own)
        return tokens

    def _choose(self, group: _Group, logits: Tensor, rows: list[int], lengths: Sequence[int]) -> Tensor:
        """The tokens [N] of rows of one group; lengths: how many tokens each has, which is the step of its noise."""
        sampler = group.sampler
        if sampler is None:
            return first_argmax(logits)
        places = {row: place for place, row in enumerate(group.places)}
        chosen = [places[row] for row in rows]
        steps = torch.zeros(sampler.batch_size, dtype=torch.int64, device=logits.device)
        index = torch.tensor(chosen, device=logits.device)
        steps[index] = torch.tensor(lengths, dtype=torch.int64, device=logits.device)
        everyone = chosen == list(range(sampler.batch_size))
        return sampler.select(logits, step=steps, rows=None if everyone else index)


def _kind(params: SamplingParams | None) -> Any:
    """What rows of one sampler must have in common: every option that is not a number with an "off" value."""
    if params is None:
        return None
    named = tuple((f.name, getattr(params, f.name)) for f in fields(params) if f.name not in _PER_ROW)
    return tuple((name, value if isinstance(value, tuple | int | float | bool) else id(value)) for name, value in named)


def _sampler(requests: Sequence[RowRequest], vocab_size: int, device: torch.device) -> Sampler:
    """One sampler for requests that differ in the options of ``_PER_ROW`` alone; a greedy request has temperature 0."""
    every = [_GREEDY if request.params is None else request.params for request in requests]
    alike = next((request.params for request in requests if request.params is not None), _GREEDY)
    options: dict[str, Any] = {f.name: getattr(alike, f.name) for f in fields(alike)}
    for name in _PER_ROW:
        values = [_OFF[name] if getattr(one, name) is None else getattr(one, name) for one in every]
        options[name] = values[0] if all(value == values[0] for value in values) else values
    return Sampler(
        SamplingParams(**options),
        batch_size=len(requests),
        vocab_size=vocab_size,
        device=device,
        seeds=[request.seed for request in requests],
    )
