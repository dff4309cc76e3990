"""Drawn windows for the span search: sizes, masks, and logits that are plain, coarse, extreme or half precision."""

from dataclasses import dataclass

import numpy as np
import torch

KINDS = ("plain", "coarse", "sharp", "extreme", "constant", "float16", "bfloat16")


@dataclass
class Windows:
    start: torch.Tensor
    end: torch.Tensor
    allowed: torch.Tensor
    lengths: torch.Tensor
    top_k: int
    max_answer_len: int
    kind: str


def draw_windows(seed, longest=40):
    """One batch of padded windows."""
    rng = np.random.default_rng(seed)
    count, length = int(rng.integers(1, 6)), int(rng.integers(1, longest))
    lengths = rng.integers(1, length + 1, count) if rng.random() < 0.5 else np.full(count, length)
    kind = KINDS[int(rng.integers(len(KINDS)))]
    scale = {"plain": 3.0, "coarse": 2.0, "sharp": 60.0, "extreme": 9000.0, "constant": 0.0}.get(kind, 4.0)
    start, end = (torch.from_numpy(rng.normal(0, scale, (count, length)).astype(np.float32)) for _ in range(2))
    if kind == "coarse":
        start, end = start.round(), end.round()
    if kind in ("float16", "bfloat16"):
        start, end = (x.to(getattr(torch, kind)) for x in (start, end))
    allowed = torch.zeros(count, length, dtype=torch.bool)
    for row in range(count):
        shape = rng.random()
        if shape < 0.6:  # a question, then the context
            allowed[row, int(rng.integers(0, length)) : length - 1] = True
        elif shape < 0.9:
            allowed[row] = torch.from_numpy(rng.random(length) < rng.random())
        allowed[row, 0] = rng.random() < 0.8
    allowed &= torch.arange(length) < torch.from_numpy(lengths)[:, None]
    top_k = int(rng.choice([1, 1, 2, 3, 5, 12, 20, 52]))
    return Windows(start, end, allowed, torch.from_numpy(lengths), top_k, int(rng.choice([1, 2, 5, 15, 100])), kind)


def library_spans(select_starts_ends, case, row):
    """(starts, ends, scores, null) of one window, without its padding, as transformers' function gives them."""
    n = int(case.lengths[row])
    upcast = case.start.float() if case.kind == "bfloat16" else case.start
    upcast_end = case.end.float() if case.kind == "bfloat16" else case.end
    p_mask = 1 - case.allowed[row : row + 1, :n].long()
    starts, ends, scores, null = select_starts_ends(
        upcast[row : row + 1, :n],
        upcast_end[row : row + 1, :n],
        p_mask,
        np.ones((1, n), dtype=np.int64),
        top_k=case.top_k,
        handle_impossible_answer=True,
        max_answer_len=case.max_answer_len,
    )
    return starts.tolist(), ends.tolist(), scores.tolist(), null
