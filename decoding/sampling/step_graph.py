"""A sampler's draw as one launch: its operations in a CUDA graph, captured at the second step and replayed afterwards.

A draw is twenty small operations, whose launches take longer than they do; beside a forward that is a graph itself they
would be most of what the host has to do in a step.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from .sampler import Sampler

__all__ = ["StepGraph"]


class StepGraph:
    """Draws of ``sampler`` for its whole batch, step after step: the tokens of ``sampler.select``, and its errors.

    The first draw forms what is formed once. Where a graph cannot be captured a warning says why, and the sampler
    draws. A graph belongs to the device, to the shape of the logits and to torch's own generator.
    """

    def __init__(self, sampler: Sampler):
        self.sampler = sampler
        self._may_capture = sampler.device.type == "cuda" and sampler.generator is None and not sampler.plan.validate
        self._drew = False
        self._graph: torch.cuda.CUDAGraph | None = None
        self._logits = self._step = self._tokens = self._top = torch.empty(0, device="cpu")

    @property
    def is_captured(self) -> bool:
        """Whether draws are replays by now."""
        return self._graph is not None

    def select(self, logits: Tensor, *, step: int) -> Tensor:
        """One token [B] for each row of ``logits`` [B, V]; a bad row raises one step late, see ``Sampler.finish``."""
        if self._graph is None and self._drew and self._may_capture:
            self._capture(logits)
        if self._graph is None or logits.shape != self._logits.shape or logits.dtype != self._logits.dtype:
            self._drew = True
            return self.sampler.select(logits, step=step)
        self.sampler.finish()
        self._logits.copy_(logits)
        self._step.fill_(step)
        self._graph.replay()
        self.sampler.look_late(self._top, step, None)
        return self._tokens.clone()  # which the next replay overwrites

    def _capture(self, logits: Tensor) -> None:
        """Capture the draw with room of its own for logits and step; once, and where the driver objects not at all."""
        self._may_capture = False
        self._logits = torch.empty_like(logits)
        self._step = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        graph = torch.cuda.CUDAGraph()
        self.sampler.finish()
        try:
            with torch.cuda.device(logits.device), torch.cuda.graph(graph):  # captured is the current device's stream
                self._tokens, self._top = self.sampler.draw_in_graph(self._logits, self._step)
        except RuntimeError as error:  # whatever the driver objects to, single operations draw the same tokens
            warnings.warn(f"the draw is not captured in a CUDA graph: {error}", stacklevel=3)
            return
        self._graph = graph
