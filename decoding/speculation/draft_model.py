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
from ..search.stopping import hits_token
from .confidence import cheapest_threshold
from .speculative import Draft

__all__ = ["DraftModel"]


class DraftModel:
    """Guesses up to ``num_tokens`` tokens per row with ``model``, which was given the same prompt.

    do_sample: draw the guesses and hand over what they were drawn from. rules: what the logits pass through; they are
    given the token ids if ``lockstep``, when all rows have one length, and nothing otherwise. confidence: a row stops
    guessing after a token less probable than this; with ``learn_confidence`` the guesses that were checked say how
    probable it must be (``cheapest_threshold``). eos_token_id: a row stops guessing after one of these [E]. schedule:
    "heuristic" guesses two more after a round whose guesses were all right and one fewer otherwise, "constant" never
    changes.
    """

    guesses_first = True  # it reads the prompt by itself, so that there are guesses before the large model has read it

    def __init__(
        self,
        model: VerifyingStepModel,
        *,
        num_tokens: int = 20,
        do_sample: bool = False,
        rules: Sequence[ScoreRule] = (),
        lockstep: bool = False,
        confidence: float = 0.0,
        learn_confidence: bool = False,
        eos_token_id: Tensor | None = None,
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
        self.learn_confidence = learn_confidence
        self.eos_token_id = eos_token_id
        self.schedule = schedule
        self._read: Tensor | None = None  # [N] how many tokens of each row the model has read, guesses apart
        self._guessed = 0  # how many guesses it has read besides
        self._known: Tensor | None = None  # [N] how many tokens each row had when it last guessed
        self._counts: Tensor | None = None  # [N] how many of the last guesses count
        self._chances: Tensor | None = None  # [N, T] how probable the last guesses were
        self._checked: tuple[list[float], list[bool]] = ([], [])  # every checked guess: how probable, whether right

    def draft(self, token_ids: Tensor, lengths: Tensor, limit: int) -> Draft:
        """Guess up to ``num_tokens`` tokens a row, each from the draft model's logits after the ones before.

        token_ids: [N, T]; lengths: [N], how many of them are known of each row; limit: the most that may be guessed.
        Ends early where every row is unsure, which is one wait a guess, and only where a confidence is asked for.
        """
        self._learn(lengths)
        self._known, self._counts, self._chances = lengths, torch.zeros_like(lengths), None
        width = min(self.num_tokens, limit)
        if width < 1:  # the next token ends every row
            return Draft(token_ids[:, :0], self._counts)
        logits = self._catch_up(token_ids, lengths)
        guesses: list[Tensor] = []
        kept_probs: list[Tensor] = []
        going = torch.ones_like(lengths, dtype=torch.bool)
        while True:
            guess, probs = self._guess(logits, token_ids, guesses)
            guesses.append(guess)
            kept_probs.append(probs)
            self._counts = self._counts + going
            going = self._goes_on(going, guess, probs)
            if len(guesses) == width or (self._may_stop() and not bool(going.any())):
                break
            logits = self.model.verify(guess)[:, 0]
            self._guessed += 1
        drafted = torch.cat(guesses, dim=1)
        stacked = torch.stack(kept_probs, dim=1) if self.do_sample or self.learn_confidence else None
        if stacked is not None and self.learn_confidence:
            self._chances = stacked.gather(2, drafted[:, :, None])[:, :, 0]
        return Draft(drafted, self._counts, stacked if self.do_sample else None)

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.model.select_rows(rows)
        for name in ("_read", "_known", "_counts", "_chances"):
            value: Tensor | None = getattr(self, name)
            setattr(self, name, None if value is None else value[rows])

    def finish(self, lengths: Tensor) -> None:
        """Learn from the last round how many to guess; ``num_tokens`` is what a next call may start with."""
        self._learn(lengths)

    # Guesses.

    def _guess(self, logits: Tensor, token_ids: Tensor, guesses: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The next guess of every row [N, 1] and what it was drawn from; the logits where nothing asks for more."""
        before = torch.cat((token_ids, *guesses), dim=1) if self.lockstep else token_ids[:, :0]
        for rule in self.rules:
            logits = rule(before, logits)
        probs = torch.softmax(logits, dim=-1) if self.do_sample or self.confidence else logits
        guess = torch.multinomial(probs, num_samples=1) if self.do_sample else first_argmax(logits)[:, None]
        return guess, probs

    def _may_stop(self) -> bool:
        """Whether a row may stop guessing before the others."""
        return bool(self.confidence) or self.eos_token_id is not None

    def _goes_on(self, going: Tensor, guess: Tensor, probs: Tensor) -> Tensor:
        """Which rows guess on after ``guess`` [N, 1]."""
        if self.confidence:
            going = going & (probs.gather(1, guess)[:, 0] >= self.confidence)
        if self.eos_token_id is not None:
            going = going & ~hits_token(guess[:, 0], self.eos_token_id)
        return going

    # What the model has read.

    def _catch_up(self, token_ids: Tensor, lengths: Tensor) -> Tensor:
        """Logits [N, V] after each row's last token; whatever else had been read is taken back."""
        if self._read is None:
            self._read = lengths  # the prompt, of one length for all rows
            return self.model.prefill()
        kept = (lengths - self._read - 1).clamp(min=0, max=self._guessed)
        self.model.rewind(self._guessed - kept)
        read = self._read + kept
        self._guessed = 0
        missing = (lengths - read).clamp(min=0)
        width = max(int(missing.max()), 1)
        where = read[:, None] + torch.arange(width, device=lengths.device)
        logits = self.model.verify(token_ids.gather(1, where.clamp(max=token_ids.shape[1] - 1)))
        self.model.rewind(width - missing)
        self._read = torch.maximum(read, lengths)
        return logits[torch.arange(logits.shape[0], device=logits.device), (missing - 1).clamp(min=0)]

    # What the last round taught.

    def _learn(self, lengths: Tensor) -> None:
        if self._known is None or self._counts is None:
            return
        accepted = (lengths - self._known - 1).clamp(min=0)
        if self.schedule != "constant":
            all_right = bool((accepted >= self._counts).all())
            self.num_tokens = self.num_tokens + 2 if all_right else max(1, self.num_tokens - 1)
        if self._chances is not None:
            self._learn_confidence(accepted, self._chances)

    def _learn_confidence(self, accepted: Tensor, chances: Tensor) -> None:
        """The accepted guesses were right, the next one wrong; of those behind it nothing is known."""
        assert self._counts is not None
        place = torch.arange(chances.shape[1], device=chances.device)
        checked = (place <= accepted[:, None]) & (place < self._counts[:, None])
        probs, right = self._checked
        probs += chances[checked].tolist()
        right += (place < accepted[:, None]).expand_as(checked)[checked].tolist()
        learnt = cheapest_threshold(probs, right)
        self.confidence = self.confidence if learnt is None else learnt
