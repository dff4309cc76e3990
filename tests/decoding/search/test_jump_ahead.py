"""Tokens that are certain: the loop appends them without a choice, and the model reads them at once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from afterlogits.decoding.search.decode_loop import decode, greedy
from afterlogits.decoding.search.history import History
from afterlogits.decoding.search.step_model import TableModel
from afterlogits.decoding.search.stopping import Stopping

VOCAB, END = 12, 11


class Path:
    """A stage that wants the tokens of a path for every row: where it ``knows`` one it is certain of it."""

    def __init__(self, paths: Sequence[Sequence[int]], knows: Sequence[Sequence[bool]], tell: bool) -> None:
        self.paths, self.knows, self.tell = list(paths), list(knows), tell
        self.places = [0] * len(self.paths)

    def apply(self, logits: Tensor) -> Tensor:
        for row, (path, place) in enumerate(zip(self.paths, self.places, strict=True)):
            if place < len(path):
                logits[row, [token for token in range(VOCAB) if token != path[place]]] = -torch.inf
        return logits

    def advance(self, token_ids: Tensor) -> None:
        assert len(token_ids) == len(self.places)
        self.places = [place + 1 for place in self.places]

    def select_rows(self, rows: Tensor) -> None:
        for name in ("paths", "knows", "places"):
            setattr(self, name, [getattr(self, name)[row] for row in rows.tolist()])

    def certain(self) -> list[int | None] | None:
        following: list[int | None] = []
        for path, knows, place in zip(self.paths, self.knows, self.places, strict=True):
            if place >= len(path):
                following.append(None)
            elif self.tell and knows[place]:
                following.append(path[place])
            else:
                return None
        return following

    def passed(self) -> None:
        """Nothing is drawn here."""


class CountedModel(TableModel):
    def __init__(self, prompt_ids: Tensor) -> None:
        super().__init__(prompt_ids, lambda ids: (ids.sum(1, keepdim=True) * 7 + torch.arange(VOCAB)).cos())
        self.read: list[int] = []

    def step(self, token_ids: Tensor) -> Tensor:
        self.read.append(1 if token_ids.ndim == 1 else token_ids.shape[1])
        return super().step(token_ids)


def test_golden() -> None:
    """1 is chosen, 2 and 3 are certain, 4 is chosen, the end is certain: two forwards, of which one reads three."""
    found, model, _ = run([[1, 2, 3, 4, END]], [[False, True, True, False, True]], tell=True)
    assert found == [[0, 1, 2, 3, 4, END]]
    assert model.read == [3]


def test_drawn_paths_end_as_step_by_step() -> None:
    """Rows that end at unlike places, with and without leaving the batch, and by a length."""
    rng = random.Random(4)
    saved = 0
    for _ in range(200):
        rows = rng.randint(1, 3)
        paths = [[rng.randrange(1, 10) for _ in range(rng.randint(1, 9))] + [END] for _ in range(rows)]
        share = rng.random()
        knows = [[rng.random() < share or rows == 1 for _ in path] for path in paths]
        options: dict[str, Any] = {"compact": rng.random() < 0.5, "max_length": rng.choice([None, 6])}
        one, slow, steps = run(paths, knows, tell=False, **options)
        other, fast, jumped = run(paths, knows, tell=True, **options)
        assert one == other
        assert set(jumped) <= set(steps)  # a step is the number of tokens that the rows have
        saved += len(slow.read) - len(fast.read)
    assert saved > 300


def run(
    paths: Sequence[Sequence[int]],
    knows: Sequence[Sequence[bool]],
    *,
    tell: bool,
    compact: bool = False,
    max_length: int | None = None,
) -> tuple[list[list[int]], CountedModel, list[int]]:
    prompt = torch.zeros((len(paths), 1), dtype=torch.int64)
    model, stage, steps = CountedModel(prompt), Path(paths, knows, tell), []

    def select(logits: Tensor, *, step: int, rows: Tensor | None = None) -> Tensor:
        steps.append(step)
        return greedy(logits, step=step, rows=rows)

    ids = decode(
        model,
        History(prompt),
        select,
        Stopping(max_length=max_length or 30, eos_token_id=torch.tensor([END])),
        processors=[stage],
        pad_token_id=torch.tensor(0),
        compact=compact,
        ahead=stage,
    )
    return ids.tolist(), model, steps
