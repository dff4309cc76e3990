"""The options of a request that act between the filters and the draw and learn from it: mirostat, adaptive-p."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor

from ..options.per_row import row_option
from .adaptive_p import AdaptivePStep
from .mirostat import MirostatStep
from .params import STEP_REQUIREMENTS, SamplingParams


class DrawSteps:
    """Mirostat and adaptive-p of ``params``, in this order, with a state for every row of the original batch.

    A sampler applies it to the filtered logits and tells it what was drawn. ``rows`` [N] int64 says which rows of the
    batch the N given ones are, None that they are all of it; a row that is not drawn keeps its state.
    """

    def __init__(self, params: SamplingParams, *, batch_size: int, device: torch.device | str = "cpu") -> None:
        self.steps: list[Any] = []
        self.rows_on: Tensor | None = None  # [B] bool on the host, the rows that steps act on; None without steps

        def read(name: str) -> Tensor:
            return row_option(name, getattr(params, name), batch_size, STEP_REQUIREMENTS[name], device)

        if params.is_on("mirostat_tau") and self._acts(read("mirostat_tau").isfinite(), batch_size):
            tau, eta = read("mirostat_tau"), read("mirostat_eta")
            self.steps.append(
                MirostatStep(batch_size=batch_size, target_surprise=tau, learning_rate=eta, device=device)
            )
        if params.is_on("adaptive_target") and self._acts(read("adaptive_target") >= 0, batch_size):
            target, decay = read("adaptive_target"), read("adaptive_decay")
            self.steps.append(AdaptivePStep(batch_size=batch_size, target=target, decay=decay, device=device))
        self._drawing: list[Any] = []

    def __bool__(self) -> bool:
        return bool(self.steps)

    def _acts(self, rows_on: Tensor, batch_size: int) -> bool:
        """Whether a step acts on a row at all, and then note on which: rows_on [] or [B] bool."""
        if not bool(rows_on.any()):
            return False
        rows_on = rows_on.cpu().expand(batch_size)
        self.rows_on = rows_on if self.rows_on is None else self.rows_on | rows_on
        return True

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
