"""A request's options once they are read for one batch, in the forms that the draws work with."""

from dataclasses import dataclass, replace
from functools import cached_property

from torch import Tensor

from .arrays import Array, on_host

__all__ = ["CompiledParams"]


@dataclass(frozen=True)
class CompiledParams:
    """Options read for one batch: what is on, as floats or float64 tensors [B, 1].

    active: the filters that are on, in their order. greedy: rows that take their largest logit, False, True or
    [B, 1] bool. largest_top_k: over the batch.
    """

    on: dict[str, float | Tensor]
    active: tuple[str, ...]
    greedy: "bool | Tensor"
    largest_top_k: int
    joint: bool
    min_tokens_to_keep: int

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
        return replace(self, on=on, greedy=self.greedy[rows] if isinstance(self.greedy, Tensor) else self.greedy)
