"""Candidates of a beam search that grammars allow, asked about one by one, against those after masks."""

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from afterlogits.decoding.grammar.grammar_step import GrammarStep
from afterlogits.decoding.grammar.token_history import NothingKnown
from afterlogits.decoding.search.allowed_candidates import allowed_candidates
from afterlogits.decoding.search.beam_candidates import top_candidates


class Sets(NothingKnown):
    """Allows a set of tokens drawn anew after every token; ends by the last token. filled: masks made by all copies."""

    quick = True

    def __init__(self, vocab: int, seed: int, shares: Sequence[float], filled: list[int], at: tuple[int, ...] = ()):
        self.vocab, self.seed, self.shares, self.filled, self.at = vocab, seed, shares, filled, at

    @property
    def ended(self) -> bool:
        return self.vocab - 1 in self.at

    def set_allowed(self) -> set[int]:
        rng = random.Random(f"{self.seed} {self.at}")
        share = rng.choice(self.shares)
        return set(self.forced()) or {token for token in range(self.vocab) if rng.random() < share}

    def forced(self) -> Sequence[int]:
        rng = random.Random(f"forced {self.seed} {self.at}")
        return [rng.randrange(self.vocab - 1)] if rng.random() < 0.05 else []

    def fill(self, bitmask: Tensor, row: int) -> None:
        self.filled[0] += 1
        bits = torch.zeros(bitmask.shape[1] * 32, dtype=torch.int64)
        bits[list(self.set_allowed())] = 1
        bitmask[row] = (bits.view(-1, 32) << torch.arange(32)).sum(1).to(torch.int32)

    def allows(self, token_id: int) -> bool:
        return token_id in self.set_allowed()

    def accept(self, token_id: int) -> bool:
        if token_id not in self.set_allowed():
            return False
        self.at = (*self.at, token_id)
        return True

    def rollback(self, count: int) -> None:
        self.at = self.at[: len(self.at) - count]

    def fork(self) -> "Sets":
        return Sets(self.vocab, self.seed, self.shares, self.filled, self.at)


def test_candidates_are_those_after_masks() -> None:
    """Steps of a search whose beams change places: few or most tokens allowed, free rows, equal logits."""
    asked = 0
    for seed in range(24):
        rng, vocab, filled = random.Random(seed), random.Random(seed).choice([700, 9000]), [0]
        shares = rng.choice([[0.3, 0.9], [0.004, 0.5], [0.02]])
        items, beams = rng.randint(1, 2), rng.randint(1, 3)
        count = rng.choice([2, 3]) * beams
        rules = [rng.choice([None, *[Sets(vocab, seed + row, shares, filled)] * 4]) for row in range(items)]
        rows = [None if rule is None else rule.fork() for rule in rules for _ in range(beams)]
        masks, asks = (GrammarStep([None if one is None else one.fork() for one in rows], vocab) for _ in range(2))
        generator = torch.Generator().manual_seed(seed)
        for _ in range(5):
            logits = torch.randn(items * beams, vocab, generator=generator)
            logits = (3 * logits).round() if seed % 6 == 5 else logits
            scores = torch.randn(items, beams, generator=generator)
            expected = top_candidates(masks.apply(logits.log_softmax(-1)), scores, count)
            filled[0] = 0
            given, normalized = logits.log_softmax(-1) if seed % 2 else logits.clone(), bool(seed % 2)
            found = allowed_candidates(given, scores, count, asks, normalized=normalized)
            asked += filled == [0]
            assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
            parent, token = (column[:, :beams] for column in found[1:])
            moved = (parent + beams * torch.arange(items)[:, None]).flatten()
            for step in (masks, asks):
                step.select_rows(moved)
                step.advance(token.flatten())
    assert asked > 20


def test_many_allowed_tokens_need_no_mask() -> None:
    filled = [0]
    step = GrammarStep([Sets(5000, row, [0.5], filled) for row in range(4)], 5000)
    log_probs = torch.randn(4, 5000, generator=torch.Generator().manual_seed(0)).log_softmax(-1)
    for _ in range(3):
        found = allowed_candidates(log_probs.clone(), torch.zeros(2, 2), 4, step)
        step.advance(found[2][:, :2].flatten())
    assert filled == [0]
