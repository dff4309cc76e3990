"""A drafter that is a model of its own: a small one, or the first layers of the large one.

It reads what the rows have become since it last guessed, then guesses one token after another. What it read of guesses
that were not accepted it takes back, row by row.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..kernels.argmax import first_argmax
from ..kernels.late_flags import LateFlag
from ..kernels.torch_stream import drawn
from ..options.numpy_or_torch import sent
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
    changes. On CUDA whether any row guesses on is heard while the next guess is computed, which is then dropped.
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
        # Of these [N] numbers the first two are on the host, the others where they were computed until they are heard.
        self._read: Tensor | None = None  # how many tokens of each row the model has read, guesses apart
        self._known: Tensor | None = None  # how many tokens each row had when it last guessed
        self._counts: Tensor | None = None  # how many of the last guesses count
        self._chances: Tensor | None = None  # [N, T] how probable the last guesses were
        self._guessed = 0  # how many guesses the model has read besides
        self._checked: tuple[list[float], list[bool]] = ([], [])  # every checked guess: how probable, whether right

    def draft(self, token_ids: Tensor, lengths: Tensor, limit: int) -> Draft:
        """Guess up to ``num_tokens`` tokens a row, each from the draft model's logits after the ones before.

        token_ids: [N, T]; lengths: [N], how many of them are known of each row, both on the host; limit: the most that
        may be guessed. Ends early where every row is unsure: on CUDA one guess late, so that nothing is waited for.
        """
        self._learn(lengths)
        self._known, self._counts, self._chances = lengths, torch.zeros_like(lengths), None
        width = min(self.num_tokens, limit)
        if width < 1:  # the next token ends every row
            return Draft(token_ids[:, :0], self._counts)
        logits = self._catch_up(token_ids, lengths)
        before = torch.empty((len(lengths), 0), dtype=torch.int64, device=logits.device)
        if self.lockstep and self.rules:
            before = sent(token_ids, logits.device)
        guesses, probs, chances, self._counts = self._guess_on(logits, before, width)
        if self.learn_confidence and self.confidence:
            self._chances = torch.cat(chances, dim=1)
        drawn_from = torch.stack(probs, dim=1) if self.do_sample else None
        return Draft(torch.cat(guesses, dim=1), self._counts, drawn_from, self._chances)

    def _guess_on(
        self, logits: Tensor, before: Tensor, width: int
    ) -> tuple[list[Tensor], list[Tensor], list[Tensor], Tensor]:
        """Up to ``width`` guesses, one after another, from the logits [N, V] of the first: the tokens [N, 1] of each,
        what they were drawn from [N, V], how probable they were [N, 1], and how many of a row's count, [N].

        before: the tokens so far, where the rules look at them.
        """
        late = logits.device.type == "cuda" and self._may_stop()
        guesses: list[Tensor] = []
        probs: list[Tensor] = []
        chances: list[Tensor] = []
        counts = torch.zeros_like(logits[:, 0], dtype=torch.int64)
        going = torch.ones_like(counts, dtype=torch.bool)
        flag = LateFlag()
        while True:
            guess, prob = self._guess(logits, before, guesses)
            guesses.append(guess)
            probs.append(prob)
            if self.confidence:
                chances.append(prob.gather(1, guess))
            counts = counts + going
            going = self._goes_on(going, guess, chances)
            if len(guesses) == width or (self._may_stop() and not late and not bool(going.any())):
                return guesses, probs, chances, counts
            if late:
                flag.send(going.any())
            logits = self.model.verify(guess)[:, 0]
            self._guessed += 1
            if late and not flag.receive():
                return guesses, probs, chances, counts

    def hear(self, counts: Tensor, chances: Tensor | None) -> None:
        """Those of the last guesses, on the host."""
        if self._counts is not None:
            self._counts, self._chances = counts, chances

    def select_rows(self, rows: Tensor) -> None:
        """Go on with the rows ``rows`` [M] int64; one may stand there more than once, as a beam's parent does."""
        self.model.select_rows(rows)
        for name in ("_read", "_known", "_counts", "_chances"):
            value: Tensor | None = getattr(self, name)
            setattr(self, name, None if value is None else value[rows.to(value.device)])

    def finish(self, lengths: Tensor) -> None:
        """Learn from the last round how many to guess; ``num_tokens`` is what a next call may start with."""
        self._learn(lengths)

    # Guesses.

    def _guess(self, logits: Tensor, before: Tensor, guesses: list[Tensor]) -> tuple[Tensor, Tensor]:
        """The next guess of every row [N, 1] and what it was drawn from; the logits where nothing asks for more."""
        if self.lockstep and self.rules:
            before = torch.cat((before, *guesses), dim=1)
        for rule in self.rules:
            logits = rule(before, logits)
        probs = torch.softmax(logits, dim=-1) if self.do_sample or self.confidence else logits
        guess = drawn(probs) if self.do_sample else first_argmax(logits)
        return guess[:, None], probs

    def _may_stop(self) -> bool:
        """Whether a row may stop guessing before the others."""
        return bool(self.confidence) or self.eos_token_id is not None

    def _goes_on(self, going: Tensor, guess: Tensor, chances: list[Tensor]) -> Tensor:
        """Which rows guess on after ``guess`` [N, 1], the last of the guesses with ``chances``."""
        if self.confidence:
            going = going & (chances[-1][:, 0] >= self.confidence)
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
        where = read[:, None] + torch.arange(width, device="cpu")
        logits = self.model.verify(token_ids.gather(1, where.clamp(max=token_ids.shape[1] - 1)))
        self.model.rewind(width - missing)
        self._read = torch.maximum(read, lengths)
        if int(missing.min()) == width:
            return logits[:, -1]
        last = sent((missing - 1).clamp(min=0), logits.device)
        return logits[torch.arange(logits.shape[0], device=logits.device), last]

    # What the last round taught.

    def _learn(self, lengths: Tensor) -> None:
        if self._known is None or self._counts is None:
            return
        counts = self._counts.cpu()
        accepted = (lengths - self._known - 1).clamp(min=0)
        if self.schedule != "constant":
            all_right = bool((accepted >= counts).all())
            self.num_tokens = self.num_tokens + 2 if all_right else max(1, self.num_tokens - 1)
        if self._chances is not None:
            self._learn_confidence(accepted, counts, self._chances.cpu())

    def _learn_confidence(self, accepted: Tensor, counts: Tensor, chances: Tensor) -> None:
        """The accepted guesses were right, the next one wrong; of those behind it nothing is known."""
        place = torch.arange(chances.shape[1], device="cpu")
        checked = (place <= accepted[:, None]) & (place < counts[:, None])
        probs, right = self._checked
        probs += chances[checked].tolist()
        right += (place < accepted[:, None]).expand_as(checked)[checked].tolist()
        learnt = cheapest_threshold(probs, right)
        self.confidence = self.confidence if learnt is None else learnt
