"""Another build of torch, whose topk and sort order equal values otherwise: torch's order is that one's."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from afterlogits.postprocess import fill_mask
from afterlogits.postprocess.top_labels import top_labels
from afterlogits.postprocess.vision import detect_sigmoid
from tests.builders.reversed_ties import require_order_of_this_build

COUNT = 70  # above the widths from where on numpy, or the maxima of groups, look first


def drawn(*shape: int) -> Tensor:
    """Logits of a few different values, so that most rows have ties among their best."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(len(shape))).mul_(4).round_()


def boxes_of(logits: Tensor) -> Tensor:
    """Boxes that name their query, so that a box says which query it was."""
    queries = torch.arange(logits.shape[1], dtype=torch.float32)
    return torch.stack([queries, queries, torch.ones_like(queries), torch.ones_like(queries)], -1).expand(
        len(logits), -1, -1
    )


def labels() -> tuple[Any, Any]:
    logits = drawn(9, 3000)
    values, places = logits.softmax(-1).topk(COUNT)
    found = top_labels(logits, COUNT)
    return (found.labels.tolist(), found.scores.tolist()), (places.tolist(), values.tolist())


def few_labels() -> tuple[Any, Any]:
    logits = drawn(9, 3000)
    return top_labels(logits, 3).labels.tolist(), logits.softmax(-1).topk(3).indices.tolist()


def tokens() -> tuple[Any, Any]:
    logits = drawn(9, 3000)
    return fill_mask(logits, top_k=5).token_ids.tolist(), logits.softmax(-1).topk(5).indices.tolist()


def detections() -> tuple[Any, Any]:
    """100 of 300 queries x 7 classes; a box names its query: [query - 0.5, ...]."""
    logits = drawn(3, 300, 7)
    found = detect_sigmoid(logits, boxes_of(logits), top_k=100, threshold=-1.0)
    places = logits.sigmoid().flatten(1).topk(100, dim=1).indices
    wanted = torch.stack([places // 7, places % 7], -1).flatten(0, 1)
    return list(zip((found.boxes[:, 0] + 0.5).long().tolist(), found.labels.tolist(), strict=True)), [
        tuple(pair) for pair in wanted.tolist()
    ]


@pytest.mark.parametrize("both", [labels, few_labels, tokens, detections])
def test_equal_values_stand_as_this_build_of_torch_has_them(
    monkeypatch: pytest.MonkeyPatch, both: Callable[[], tuple[Any, Any]]
) -> None:
    """Equal in this build, and in one with the ties reversed, whose answer is another one."""
    require_order_of_this_build(monkeypatch, both)
