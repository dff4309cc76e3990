"""A request's options once they are read for one batch, in the forms that the draws work with."""

from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from .numpy_or_torch import Array, on_host

__all__ = ["OFF", "SWITCHES", "CompiledParams", "proposing_rows", "without_proposals"]

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
# What a row drawn by proposals may have on, in this order, and nothing else.
_PROPOSING = ("temperature", "top_p", "min_p")


@dataclass(frozen=True)
class CompiledParams:
    """Options read for one batch: what is on, as floats or float64 tensors [B, 1].

    active: the filters that are on, in their order. greedy: rows that take their largest logit, False, True or
    [B, 1] bool. largest_top_k: over the batch. proposing: rows that proposals may draw if they are flat, from
    ``proposing_rows``, False, True or [B, 1] bool: how a row with a seed is drawn depends on its own options alone.
    exact_division: divide by the temperature on every device; else CUDA multiplies by its reciprocal, as torch does.
    """

    on: dict[str, float | Tensor]
    active: tuple[str, ...]
    greedy: "bool | Tensor"
    largest_top_k: int
    joint: bool
    min_tokens_to_keep: int
    proposing: "bool | Tensor" = False
    exact_division: bool = False

    @cached_property
    def uniform(self) -> bool:
        """Whether every option is one number for the batch."""
        return not any(isinstance(v, Tensor) for v in (self.greedy, self.proposing, *self.on.values()))

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
        greedy, proposing = (x[rows] if isinstance(x, Tensor) else x for x in (self.greedy, self.proposing))
        return replace(self, on=on, greedy=greedy, proposing=proposing)


def proposing_rows(
    on: dict[str, float | Tensor], active: tuple[str, ...], greedy: bool | Tensor, min_tokens_to_keep: int
) -> bool | Tensor:
    """Which rows have nothing on but temperature, top-p and min-p, in this order: False, True or [B, 1] bool.

    on: floats and tensors [B, 1]; an option that is in it as a float is on in every row.
    """
    if min_tokens_to_keep > 1:
        return False
    rows: bool | Tensor = ~greedy if isinstance(greedy, Tensor) else not greedy
    for name, value in on.items():
        if name not in _PROPOSING and name not in ("dynamic_exponent", "xtc_threshold"):
            rows = rows & (value == OFF[name] if isinstance(value, Tensor) and name in OFF else False)
    ordered = [name for name in active if name in _PROPOSING]
    for place, later in enumerate(ordered):
        for earlier in ordered[:place]:
            if _PROPOSING.index(earlier) > _PROPOSING.index(later):  # then only one of them may be on
                rows = rows & (_off(on, earlier) | _off(on, later))
    return rows


def without_proposals(params: CompiledParams, rows: Tensor) -> CompiledParams:
    """The same where the rows ``rows`` [B] bool are not drawn by proposals, whatever is on."""
    proposing = params.proposing & ~rows[:, None]
    return replace(params, proposing=bool(proposing.any()) and proposing)


def _off(on: dict[str, float | Tensor], name: str) -> bool | Tensor:
    return on.get(name, OFF[name]) == OFF[name]
