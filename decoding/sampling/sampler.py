"""A sampling call compiled for a batch: one draw per row and step, with torch's own stream or with a seed per row."""

from collections.abc import Sequence
from typing import overload

import torch
from torch import Tensor

from ..kernels.late_flags import LateFlag
from ..options.batch_options import CompiledParams
from ..options.validation import (
    RowSteps,
    Step,
    Steps,
    check_count,
    check_generator,
    check_logits,
    check_rows,
    check_seeds,
    check_step,
)
from .batch import Batch, keys_of
from .device_draw import check_drawn, draw_on_device, drawn_again, marked, step_noise
from .draw_steps import DrawSteps
from .kernel_draw import DoubtCount, LateDraw
from .ladder import draw
from .logprobs import Sampled, with_logprobs
from .params import SamplingParams
from .plan import plan_of
from .reference_draw import filtered, xtc_chance

__all__ = ["Sampler"]


class Sampler:
    """A sampling call compiled for a batch, to be used at every step of a loop.

    batch_size: rows of the batch at the start; per-row options and seeds have this length and are indexed by ``rows``.
    seeds, generator: as in ``sample``. A step per row, like seeds, is indexed by ``rows``.
    drawn, fallbacks: how many rows the fast ways were asked for, and how many of them they could not prove, on the CPU.
    A draw there walks the ways of ``ladder.LADDER`` that apply, until every row has its token. On another device it
    waits for nothing: a row that may not be drawn raises one step late, see ``finish``; with ``validate=True`` at once.
    ``select`` may be captured in a CUDA graph once it has drawn (which forms what is formed once): the step is then a
    tensor that the caller moves on between replays, ``rows`` is None, and a row that may not be drawn gets -1.
    """

    def __init__(
        self,
        params: SamplingParams,
        *,
        batch_size: int,
        vocab_size: int,
        device: torch.device | str,
        seeds: Sequence[int] | Tensor | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        self.plan = plan_of(params, batch_size, vocab_size, torch.device(device))
        self.batch_size, self.vocab_size, self.device = batch_size, vocab_size, self.plan.device
        self.seeds = None if seeds is None else check_seeds(seeds, batch_size, self.device)
        check_generator(generator, self.device)
        self.generator = generator
        self.noise = None if self.seeds is None or self.plan.on_cpu else step_noise(self.plan, self.seeds)
        self._late: list[tuple[LateFlag, Step, Tensor | None]] = []  # of draws that nobody has looked at
        self._flag = LateFlag()
        self.draw_steps = DrawSteps(params, batch_size=batch_size, device=self.device) if self.plan.has_steps else None
        self._doubts = DoubtCount()
        self.settles_late = False  # whether the caller asks ``settle`` about each draw before the next
        self._late_draw = LateDraw()
        self.drawn = 0  # rows that the fast ways were asked for
        self.fallbacks = 0  # of them, rows that went through transformers' own arithmetic

    @property
    def doubts(self) -> int:
        """Of the rows drawn with seeds by a device's kernels, those where rounding might have chosen another token.

        They are decided by plain comparison; on the CPU such rows are ``fallbacks``. Reading waits for the device, and
        draws of a CUDA graph are not counted.
        """
        return self._doubts.read()

    @property
    def params(self) -> CompiledParams:
        """The options as they are compiled for the batch."""
        asked = self.plan.device_plan
        return self.plan.params if asked is None or self.seeds is None else asked.seeded

    @overload
    def select(
        self,
        logits: Tensor,
        *,
        step: Steps = 0,
        rows: Tensor | None = None,
        logprobs: None = None,
    ) -> Tensor: ...
    @overload
    def select(self, logits: Tensor, *, step: Steps = 0, rows: Tensor | None = None, logprobs: int) -> Sampled: ...
    def select(
        self,
        logits: Tensor,
        *,
        step: Steps = 0,
        rows: Tensor | None = None,
        logprobs: int | None = None,
    ) -> Tensor | Sampled:
        """Draw one token for each of the N rows still alive: logits [N, V] -> token ids [N].

        rows: [N] int64, which rows of the original batch these are; None means all of them. Without seeds the stream
        is consumed for the whole original batch, so that rows which left do not change the draws of the others.
        """
        check_logits(logits)
        count, columns = logits.shape
        if rows is None and count != self.batch_size:
            raise ValueError(f"logits must have {self.batch_size} rows; got {count}")
        if rows is not None:
            check_rows(rows, count, self.batch_size)
        if columns != self.vocab_size:
            raise ValueError(f"logits must have {self.vocab_size} columns; got {columns}")
        if logprobs is not None:
            check_count("logprobs", logprobs, 0)
        step = check_step(step, self.batch_size)
        token_ids = self._draw(logits, step, rows)
        if logprobs is None:
            return token_ids
        return with_logprobs(logits, token_ids, logprobs)

    def select_places(self, logits: Tensor, *, step: Tensor, rows: Tensor) -> Tensor:
        """Draw a token at each of T places of the rows ``rows`` [N] at once: logits [N, T, V] -> token ids [N, T].

        step: [B], of each original row's first place; the others are of the steps after it. With seeds alone, and
        without mirostat or adaptive-p: what is drawn at a place must not depend on the place before it.
        """
        count, places, _ = logits.shape
        if self.seeds is None or self.draw_steps:
            raise ValueError("seeds must be given, and no step may learn from draws, for several places at once")
        check_rows(rows, count, self.batch_size)
        steps = step[rows][:, None] + torch.arange(places, device=logits.device)
        again = rows[:, None].expand(count, places).reshape(-1)
        found = self._draw(logits.flatten(0, 1), RowSteps(steps.reshape(-1)), again)
        return found.view(count, places)

    def _draw(self, logits: Tensor, step: Step, rows: Tensor | None) -> Tensor:
        """The tokens [N]: on the CPU by the ladder, elsewhere without a wait, the doubt about bad rows kept for
        ``finish``."""
        plan = self.plan
        if plan.on_cpu:
            batch = Batch(plan, logits, self.seeds, self.generator, step, rows, self.draw_steps)
            token_ids = draw(batch)
            self.drawn += len(logits) if plan.filters is not None and self.params.greedy is not True else 0
            self.fallbacks += batch.fallbacks
            return token_ids
        if plan.device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return self._captured(logits, step, rows)
        if type(step) is int:
            self.finish()
        late = self._late_draw if self.settles_late else None
        token_ids, top = draw_on_device(
            plan, logits, self.noise, self.generator, step, rows, self.draw_steps, self._doubts, late
        )
        if not plan.validate:
            self.look_late(top, step, rows)
        return token_ids

    def settle(self) -> Tensor | None:
        """The tokens [N] that the last draw should have given, None where it gave them: asked with ``settles_late``.

        Of draws without seeds by a device's kernels, where transformers' token is promised and rounding might have
        decided. The logits of the draw must still be what they were.
        """
        return drawn_again(self.plan, self._late_draw, self.generator)

    def look_late(self, top: Tensor, step: Step, rows: Tensor | None) -> None:
        """Let ``finish`` look at the rows' largest logits [N] of a draw."""
        flag = LateFlag() if self._late else self._flag
        flag.send(top)
        self._late.append((flag, step, rows))

    def _captured(self, logits: Tensor, step: Step, rows: Tensor | None) -> Tensor:
        if self.seeds is not None and not isinstance(step, Tensor):
            raise ValueError(f"step must be a tensor where a CUDA graph is captured; got {step}")
        if rows is not None:
            raise ValueError("rows must be None where a CUDA graph is captured; got a tensor")
        if self.plan.validate:
            raise ValueError("validate must be False where a CUDA graph is captured; got True")
        return marked(self.plan, *self.draw_in_graph(logits, step))

    def draw_in_graph(self, logits: Tensor, step: Step) -> tuple[Tensor, Tensor]:
        """The operations of a draw of all rows: the tokens [B], and each row's largest logit [B] for ``look_late``."""
        return draw_on_device(self.plan, logits, self.noise, self.generator, step, None, self.draw_steps)

    def finish(self) -> None:
        """Raise ValueError naming row and step if a row drawn on a device had NaN, +inf or only -inf.

        ``select`` asks about the draw before; a loop must ask after its last one, and after those whose ``step`` is a
        tensor. The CPU refuses such rows at once.
        """
        late, self._late = self._late, []
        for flag, step, rows in late:
            top = flag.receive()
            try:
                check_drawn(self.plan, top, rows)
            except ValueError as error:
                named = step if isinstance(step, int) else f"of each row among {step.tolist()}"
                raise ValueError(f"{error} at step {named}") from None

    def process(self, logits: Tensor, *, step: Step = 0, rows: Tensor | None = None) -> Tensor:
        """The filtered logits [N, V], as transformers returns them in ``scores``; before mirostat and adaptive-p."""
        params = self.params if rows is None else self.params.select_rows(rows)
        keys = self.keys(step, rows)
        return filtered(logits, params, xtc_chance(params, keys, rows, self.batch_size, self.device, self.generator))

    def keys(self, step: Step, rows: Tensor | None = None) -> Tensor | None:
        """The rows' counters at a step, [N, 1], or None without seeds."""
        return None if self.seeds is None else keys_of(self.seeds, step, rows)
