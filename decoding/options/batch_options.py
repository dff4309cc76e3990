"""A request's options once they are read for one batch, in the forms that the draws work with."""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from .numpy_or_torch import Array, on_host

__all__ = ["OFF", "SWITCHES", "CompiledParams", "unlike_ways", "ways_of_rows"]

# The values that change nothing.
OFF: dict[str, float] = {
    "temperature": 1.0,
    "dynamic_temperature": 0.0,
    "top_k": 0.0,
    "top_p": 1.0,
    "min_p": 0.0,
    "typical_p": 1.0,
    "epsilon_cutoff": 0.0,
    "eta_cutoff": 0.0,
    "top_n_sigma": 0.0,
    "xtc_probability": 0.0,
}
# What switches a filter on, where that is not the option of its own name.
SWITCHES: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature", "dynamic_temperature"),
    "xtc": ("xtc_probability",),
}
# Whether these are on in a row changes nothing but its numbers: no draw takes another way for them.
_ANY_WAY = ("temperature", "top_p", "min_p")


@dataclass(frozen=True)
class CompiledParams:
    """Options read for one batch: what is on, as floats or float64 tensors [B, 1].

    active: the filters that are on, in their order. greedy: rows that take their largest logit, False, True or
    [B, 1] bool. largest_top_k: over the batch. ways: from ``ways_of_rows``, and the options its bits stand for.
    """

    on: dict[str, float | Tensor]
    active: tuple[str, ...]
    greedy: "bool | Tensor"
    largest_top_k: int
    joint: bool
    min_tokens_to_keep: int
    ways: Tensor | None = None
    deciding: tuple[str, ...] = ()

    @cached_property
    def uniform(self) -> bool:
        """Whether every option is one number for the batch."""
        return not isinstance(self.greedy, Tensor) and not any(isinstance(v, Tensor) for v in self.on.values())

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """``on``, and ``greedy`` where rows differ, their tensors as numpy arrays where they are on the CPU."""
        arrays = {name: on_host(value) for name, value in self.on.items()}
        return {**arrays, "greedy": on_host(self.greedy)} if isinstance(self.greedy, Tensor) else arrays

    def select_rows(self, rows: Tensor) -> "CompiledParams":
        """The same options for the rows ``rows`` [N] of the batch."""
        if self.uniform:
            return self
        on = {name: value[rows] if isinstance(value, Tensor) else value for name, value in self.on.items()}
        ways = None if self.ways is None else self.ways[rows.cpu()]
        greedy = self.greedy[rows] if isinstance(self.greedy, Tensor) else self.greedy
        return replace(self, on=on, greedy=greedy, ways=ways)

    def of_way(self, way: int) -> "CompiledParams":
        """Without the options that are off in every row of this way: what such a row compiles to alone."""
        off = {name for bit, name in enumerate(self.deciding) if not way >> bit & 1}
        on = {name: value for name, value in self.on.items() if name not in off}
        active = tuple(name for name in self.active if any(option in on for option in SWITCHES.get(name, (name,))))
        most = self.largest_top_k if "top_k" in on else 0
        joint = self.joint and "top_k" in on and "top_p" in on
        return replace(self, on=on, active=active, largest_top_k=most, joint=joint, ways=None, deciding=())


def ways_of_rows(on: dict[str, float | Tensor]) -> tuple[Tensor | None, tuple[str, ...]]:
    """Which of the options are on in which row: [B] int64, a bit for each of the names; None where all rows agree.

    on: floats and tensors [B, 1]. A draw with seeds takes rows of unlike ways apart, for how a row is drawn depends on
    what is on, and its token on that row alone.
    """
    switched = {
        name: (value != OFF[name])[:, 0]
        for name, value in on.items()
        if isinstance(value, Tensor) and name in OFF and name not in _ANY_WAY
    }
    names = tuple(name for name, rows in switched.items() if not bool(rows.all()))
    if not names:
        return None, ()
    ways = torch.stack([switched[name].long() << bit for bit, name in enumerate(names)]).sum(0)
    return ways.cpu(), names


def unlike_ways(params: CompiledParams, steps_on: Tensor | None, batch_size: int) -> Tensor | None:
    """A number for each row of the batch, [B] on the host, equal where the same options are on; None if in all.

    steps_on: [B] bool, which rows ``DrawSteps`` act on, the lowest bit of the number; the others are the row's way.
    """
    if params.ways is None and steps_on is None:
        return None
    ways = torch.zeros(batch_size, dtype=torch.int64) if params.ways is None else 2 * params.ways
    ways = ways if steps_on is None else ways + steps_on
    return None if len({*ways.tolist()}) < 2 else ways
