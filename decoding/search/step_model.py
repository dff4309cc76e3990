"""What a loop needs from a model, and nothing more.

A loop holds a ``StepModel``: it asks for the prompt's logits once, then feeds one token per row and gets the next
logits. ``select_rows`` is the one verb that changes which rows exist: it re-parents beams, drops finished rows and
expands a prompt into its beams. Speculation adds ``verify`` and ``rewind``; contrastive search and DoLa add
``HiddenStepModel``. Shapes: N rows alive now, V vocabulary, T new tokens, H hidden size, L layers asked for.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["HiddenStepModel", "StepModel", "TableBatch", "TableModel", "VerifyingStepModel", "expansion"]


@runtime_checkable
class StepModel(Protocol):
    """A model with a prompt, seen one step at a time. Logits are float32 or the model's own dtype, unnormalised.

    The caller may write into the logits it gets; the model never reads them again.
    """

    def prefill(self) -> Tensor:
        """Run the prompt; return the logits after its last token, [N, V]. Called once, before anything else."""
        ...

    def step(self, token_ids: Tensor) -> Tensor:
        """Append ``token_ids`` [N] int64, one per row, and return the logits that follow, [N, V].

        A model that ``takes_several`` is also given [N, T].
        """
        ...

    def select_rows(self, rows: Tensor) -> None:
        """Make row i what row ``rows[i]`` was; ``rows`` [M] int64, repeats and omissions allowed.

        The state is copied only where ``rows`` is not the identity.
        """
        ...


@runtime_checkable
class VerifyingStepModel(StepModel, Protocol):
    """A model that can also read several tokens per row at once and take some of them back.

    It brings to its device what it is given on the host: token ids, and rows to select.
    """

    def verify(self, token_ids: Tensor) -> Tensor:
        """Append ``token_ids`` [N, T] and return the logits after each of them, [N, T, V]."""
        ...

    def rewind(self, drop: Tensor) -> None:
        """Take back the last ``drop[i]`` tokens of row i, over as many earlier calls as that takes.

        drop: [N] int64 on the host. Rows may differ: later tokens see only what was kept, at the positions they would
        have had without the rest.
        """
        ...


@runtime_checkable
class HiddenStepModel(StepModel, Protocol):
    """A model that also shows what its last ``prefill`` or ``step`` computed on the way to the logits."""

    def last_hidden(self) -> Tensor:
        """The last layer's hidden states of the tokens just run, [N, T, H]; T is 1 after ``step``."""
        ...

    def early_logits(self, layers: Sequence[int]) -> Tensor:
        """The output head applied to hidden states ``layers`` (0 is the embedding) of the last token, [L, N, V]."""
        ...


def expansion(batch_size: int, copies: int, device: torch.device | str | None = None) -> Tensor:
    """The ``select_rows`` argument that repeats every row ``copies`` times, neighbours together.

    >>> expansion(2, 3)
    tensor([0, 0, 0, 1, 1, 1])
    """
    return torch.arange(batch_size, device=device).repeat_interleave(copies)


class TableModel:
    """A StepModel whose next logits are a function of the tokens so far: for tests, teaching and enumeration.

    ``rule`` maps token ids [N, T] to logits [N, V].
    >>> model = TableModel(torch.tensor([[0]]), lambda ids: ids[:, -1:] + torch.arange(3.0))
    >>> model.prefill(), model.step(torch.tensor([2]))
    (tensor([[0., 1., 2.]]), tensor([[2., 3., 4.]]))
    """

    takes_several = True

    def __init__(self, prompt_ids: Tensor, rule: Callable[[Tensor], Tensor]):
        self.token_ids = prompt_ids
        self.rule = rule

    def prefill(self) -> Tensor:
        """Logits [B, V] after the prompts."""
        return self.rule(self.token_ids)

    def step(self, token_ids: Tensor) -> Tensor:
        """Logits [B, V] after one more token a row, [B]."""
        self.token_ids = torch.cat((self.token_ids, token_ids.reshape(token_ids.shape[0], -1)), dim=1)
        return self.rule(self.token_ids)

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.token_ids = self.token_ids[rows]


class TableBatch:
    """The same for a running batch, see ``running_batch``: ``rule`` maps the ids [T] of one row to its logits [V].

    joins: whether rows may join others that run; packs: whether ``advance`` may be called.
    """

    def __init__(self, rule: Callable[[Tensor], Tensor], *, joins: bool = True, packs: bool = False):
        self.rule, self.joins, self.packs = rule, joins, packs
        self.rows: list[Tensor] = []

    def admit(self, prompts: Sequence[Tensor]) -> Tensor:
        """Let prompts join, each [T]; their logits [N, V]. ValueError where rows are running and none may join."""
        if self.rows and not self.joins:
            raise ValueError(f"rows must be none where prompts join; got {len(self.rows)}")
        self.rows += prompts
        return torch.stack([self.rule(ids) for ids in prompts])

    def step(self, token_ids: Tensor) -> Tensor:
        """Logits [N, V] after one more token a row, [N]."""
        self.rows = [torch.cat((ids, token[None])) for ids, token in zip(self.rows, token_ids, strict=True)]
        return torch.stack([self.rule(ids) for ids in self.rows])

    def advance(self, token_ids: Sequence[Sequence[int]], prompts: Sequence[Tensor]) -> Tensor:
        """Logits [N, V] after one more token or several a row, and after prompts that join."""
        held = [torch.cat((ids, ids.new_tensor(own))) for ids, own in zip(self.rows, token_ids, strict=True)]
        self.rows = [*held, *prompts]
        return torch.stack([self.rule(ids) for ids in self.rows])

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.rows = [self.rows[row] for row in rows.tolist()]
