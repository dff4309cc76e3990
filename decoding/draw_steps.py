"""The options of a request that act between the filters and the draw and learn from it: mirostat, adaptive-p."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from .adaptive import AdaptivePStep
from .mirostat import MirostatStep
from .params import SamplingParams
from .rows import RowOption


class DrawSteps:
    """Mirostat and adaptive-p of ``params``, in this order, with a state for every row of the original batch.

    A sampler applies it to the filtered logits and tells it what was drawn. ``rows`` [N] int64 says which rows of the
    batch the N given ones are, None that they are all of it; a row that is not drawn keeps its state.
    """

    def __init__(self, params: SamplingParams, *, batch_size: int, device: torch.device | str = "cpu") -> None:
        self.steps: list[Any] = []
        if params.is_on("mirostat_tau"):
            self.steps.append(
                MirostatStep(
                    batch_size=batch_size,
                    target_surprise=_given(params.mirostat_tau),
                    learning_rate=params.mirostat_eta,
                    device=device,
                )
            )
        if params.is_on("adaptive_target"):
            self.steps.append(
                AdaptivePStep(
                    batch_size=batch_size,
                    target=_given(params.adaptive_target),
                    decay=params.adaptive_decay,
                    device=device,
                )
            )
        self._drawing: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self.steps)

    def apply(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """Change the filtered logits [N, V]."""
        self._drawing = self.steps
        if rows is not None:
            self._drawing = [copy.copy(step) for step in self.steps]
            for step in self._drawing:
                step.select_rows(rows)
        for step in self._drawing:
            logits = step.apply(logits)
        return logits

    def advance(self, token_ids: Tensor, rows: Tensor | None = None) -> None:
        """Learn from the tokens drawn, [N]."""
        for step, drawing in zip(self.steps, self._drawing, strict=True):
            drawing.advance(token_ids)
            if rows is not None:
                step.put_rows(rows, drawing)


def _given(value: RowOption | None) -> RowOption:
    return 0.0 if value is None else value
