"""Draws by the library's own operations over whole vocabularies: what no short way covers or can prove."""

import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..kernels.counter_noise import counter_uniform
from ..kernels.exponential_race import divisor, full_winner
from ..kernels.torch_stream import row_exponentials
from ..options.batch_options import CompiledParams
from .chain import apply_chain
from .draw_steps import DrawSteps

__all__ = ["FullDraws"]

_XTC_COIN = -1  # the token id whose noise decides XTC in seeded mode


class FullDraws:
    """Draws over the whole vocabulary for a batch of ``batch_size`` rows at its start.

    keys: [N, 1], the counters of rows with seeds; None draws from ``generator``, torch's global one if None.
    rows: [N] int64, which rows of the batch the N given ones are; None means all of them.
    Cost: the filters of the library and a draw, several times [N, V].
    """

    def __init__(
        self, batch_size: int, vocab_size: int, device: torch.device, generator: torch.Generator | None
    ) -> None:
        self.batch_size, self.vocab_size, self.device = batch_size, vocab_size, device
        self.generator = generator

    def chance(self, params: CompiledParams, keys: Tensor | None, rows: Tensor | None) -> Tensor | None:
        """What decides whether XTC acts on a row, [N]: from the row's counter, or one draw per row of the batch."""
        if "xtc" not in params.active:
            return None
        if keys is not None:
            coin: Tensor = counter_uniform(keys, torch.tensor([_XTC_COIN], device=self.device))[:, 0]
            return coin
        chance = torch.rand(self.batch_size, generator=self.generator, device=self.device)
        return chance if rows is None else chance[rows]

    def draw(
        self,
        logits: Tensor,
        params: CompiledParams,
        keys: Tensor | None,
        rows: Tensor | None,
        draw_steps: DrawSteps | None = None,
    ) -> Tensor:
        """One token for each of the rows [N, V], which the steps act on and learn from: token ids [N]."""
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        kept = apply_chain(wide, params, chance=self.chance(params, keys, rows))
        if draw_steps:
            wide = kept = draw_steps.apply(kept, rows)
        if keys is not None:
            drawn = full_winner(wide, kept, keys, None if draw_steps else divisor(params))
        elif rows is None:
            drawn = torch.multinomial(kept.softmax(-1), 1, generator=self.generator)[:, 0]
        else:
            noise = torch.empty(self.batch_size, self.vocab_size, dtype=kept.dtype, device=self.device)
            drawn = (kept.softmax(-1) / noise.exponential_(generator=self.generator)[rows]).argmax(-1)
        if isinstance(params.greedy, Tensor):
            drawn = torch.where(params.greedy[:, 0], first_argmax(logits), drawn)
        if draw_steps:
            draw_steps.advance(drawn, rows)
        return drawn

    def draw_row(
        self, logits: Tensor, params: CompiledParams, keys: Tensor | None, row: int, state: Tensor | None
    ) -> Tensor:
        """The token of one row of ``logits``, []. state: of torch's stream where the row's noise begins, if no keys."""
        one = params.select_rows(torch.tensor([row], device=logits.device))
        wide = logits[row : row + 1].to(torch.float32)
        if isinstance(one.greedy, Tensor) and bool(one.greedy):
            return wide.argmax()
        kept = apply_chain(wide, one)
        if keys is not None:
            return full_winner(wide, kept, keys[row : row + 1], divisor(one))[0]
        if state is None:
            raise ValueError(f"state must be given for a row without a key; got None for row {row}")
        return (kept.softmax(-1) / row_exponentials(state, self.vocab_size)).argmax()
