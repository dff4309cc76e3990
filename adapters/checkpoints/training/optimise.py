"""One training loop for all seven models: batches of like length, AdamW, a warm-up and a cosine."""

import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

T = TypeVar("T")
Batch = dict[str, Any]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast one model trains."""

    steps: int
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    warmup: float = 0.06


def batches(
    draw: Callable[[], T], length: Callable[[T], int], size: int, rng: random.Random, pool: int = 12
) -> Iterator[Sequence[T]]:
    """Fresh items without end, in batches of like length: a pool is drawn, sorted, cut and shuffled."""
    while True:
        items = sorted((draw() for _ in range(size * pool)), key=length)
        cut = [items[i : i + size] for i in range(0, len(items), size)]
        rng.shuffle(cut)
        yield from cut


def pad(rows: Sequence[Sequence[int]], value: int) -> torch.Tensor:
    width = max(len(row) for row in rows)
    return torch.tensor([[*row, *[value] * (width - len(row))] for row in rows])


def fit(
    model: nn.Module, feed: Iterator[Batch], loss: Callable[[nn.Module, Batch], torch.Tensor], plan: Schedule, name: str
) -> float:
    """Train in place; returns the processor seconds spent. Prints the loss every tenth of the way."""
    decayed = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": plan.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=plan.learning_rate, betas=(0.9, 0.98), fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, plan))
    model.train()
    began, running = time.process_time(), 0.0
    for step in range(1, plan.steps + 1):
        value = loss(model, next(feed))
        torch.autograd.backward(value)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        scheduler.step()
        optimiser.zero_grad(set_to_none=True)
        running += value.item()
        every = max(1, plan.steps // 10)
        if step % every == 0:
            spent = time.process_time() - began
            print(
                f"{name:20} step {step:5}/{plan.steps}  loss {running / every:.4f}  {spent:6.0f} s of processor",
                flush=True,
            )
            running = 0.0
    model.eval()
    return time.process_time() - began


def _rate(step: int, plan: Schedule) -> float:
    ahead = plan.warmup * plan.steps
    if step < ahead:
        return (step + 1) / ahead
    return 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - ahead) / (plan.steps - ahead)))
