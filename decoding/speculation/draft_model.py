"""A drafter that is a model of its own: a small one, or the first layers of the large one.

It reads what the rows have become since it last guessed, then guesses one token after another. What it read of guesses
that were not accepted it takes back, row by row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..search.score_rules import ScoreRule
from ..search.step_model import VerifyingStepModel
from .speculative import Draft

__all__ = ["DraftModel"]


class DraftModel:
    """Guesses up to ``num_tokens`` tokens per row with ``model``, which was given the same prompt.

    do_sample: draw the guesses and hand over what they were drawn from. rules: what the logits pass through; they are
    given the token ids if ``lockstep``, when all rows have one length, and nothing otherwise. confidence: a row stops
    guessing after a token less probable than this. schedule: "heuristic" guesses two more after a round whose guesses
    were all right and one fewer otherwise, "constant" never changes.
    """

    def __init__(
        self,
        model: VerifyingStepModel,
        *,
        num_tokens: int = 20,
        do_sample: bool = False,
        rules: Sequence[ScoreRule] = (),
        lockstep: bool = False,
        confidence: float = 0.0,
        schedule: str = "constant",
    ):
        if num_tokens < 1:
            raise ValueError(f"num_tokens must be at least 1; got {num_tokens}")
        if not 0.0 <= confidence <= 1.0:
            raise ValueError(f"confidence must be in [0, 1]; got {confidence}")
        self.model = model
        self.num_tokens = num_tokens
        self.do_sample = do_sample
        self.rules = rules
        self.lockstep = lockstep
        self.confidence = confidence
        self.schedule = schedule
        self._has_prompt = False
        self._read: Tensor | None = None  # [N] how many tokens of each row the model has read, guesses apart
        self._guessed = 0  # how many guesses it has read besides
        self._counts: Tensor | None = None

    def draft(self, token_ids: Tensor, lengths: Tensor, limit: int) -> Draft:
        logits = self._catch_up(token_ids, lengths)
        guesses: list[Tensor] = []
        kept_probs: list[Tensor] = []
        width = min(self.num_tokens, limit)
        counts = torch.zeros_like(lengths)
        sure = torch.ones_like(lengths, dtype=torch.bool)
        while len(guesses) < width:
            for rule in self.rules:
                logits = rule(self._before(token_ids, guesses), logits)
            probs = torch.softmax(logits, dim=-1) if self.do_sample or self.confidence else logits
            guess = torch.multinomial(probs, num_samples=1) if self.do_sample else first_argmax(logits)[:, None]
            guesses.append(guess)
            kept_probs.append(probs)
            counts += sure
            if self.confidence:
                sure = sure & (probs.gather(1, guess)[:, 0] >= self.confidence)
            if len(guesses) == width or (self.confidence and not bool(sure.any())):
                break
            logits = self.model.verify(guess)[:, 0]
            self._guessed += 1
        self._counts = counts
        if not guesses:
            return Draft(token_ids[:, :0], counts)
        stacked = torch.stack(kept_probs, dim=1) if self.do_sample else None
        return Draft(torch.cat(guesses, dim=1), counts, stacked)

    def select_rows(self, rows: Tensor) -> None:
        self._read_prompt()
        self.model.select_rows(rows)
        self._read = None if self._read is None else self._read[rows]
        self._counts = None if self._counts is None else self._counts[rows]

    def finish(self, lengths: Tensor) -> None:
        """Learn from the last round how many to guess; ``num_tokens`` is what a next call may start with."""
        if self._read is not None:
            self._adapt((lengths - self._read - 1).clamp(min=0))

    def _catch_up(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits [N, V] after each row's last token; whatever else had been read is taken back."""
        self._read_prompt()
        if self._read is None:
            # The prompt is what every row shares in length; one token of the large model's has followed it.
            self._read = lengths - 1
        else:
            accepted = (lengths - self._read - 1).clamp(min=0)
            self._adapt(accepted)
            kept = accepted.clamp(max=self._guessed)
            self.model.rewind(self._guessed - kept)
            self._read = self._read + kept
            self._guessed = 0
        missing = (lengths - self._read).clamp(min=0)
        width = max(int(missing.max()), 1)
        where = self._read[:, None] + torch.arange(width, device=lengths.device)
        logits = self.model.verify(token_ids.gather(1, where.clamp(max=token_ids.shape[1] - 1)))
        self.model.rewind(width - missing)
        self._read = torch.maximum(self._read, lengths)
        return logits[torch.arange(logits.shape[0], device=logits.device), (missing - 1).clamp(min=0)]

    def _read_prompt(self) -> None:
        if not self._has_prompt:
            self.model.prefill()
            self._has_prompt = True

    def _adapt(self, accepted: Tensor) -> None:
        if self.schedule == "constant" or self._counts is None:
            return
        all_right = bool((accepted >= self._counts).all())
        self.num_tokens = self.num_tokens + 2 if all_right else max(1, self.num_tokens - 1)

    def _before(self, token_ids: Tensor, guesses: list[Tensor]) -> Tensor:
        if not self.lockstep:
            return token_ids[:, :0]
        return torch.cat((token_ids, *guesses), dim=1)
