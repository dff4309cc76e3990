"""Instances that do not overlap: figures, a plain loop over pairs and pixels, and errors."""

import random

import pytest
import torch
import torch.nn.functional as F

from afterlogits.postprocess import vision
from afterlogits.postprocess.vision import ranked

CASES = 150


def test_a_pixel_goes_to_the_best_and_a_hidden_instance_is_none():
    """Scores .953, .881, .731 of logits 3, 2, 1: query 1 takes pixels 0 and 1, query 0 none more, query 2 the last."""
    logits = torch.tensor([[[2.0], [3.0], [1.0]]])
    masks = torch.tensor([[[[1.0, 1.0, -1.0]], [[1.0, 1.0, -1.0]], [[-1.0, 1.0, 1.0]]]])
    found = vision.ranked_maps(logits, masks)[0]
    assert found.map.tolist() == [[1, 1, 2]] and found.map.dtype == torch.int32
    assert (found.ids.tolist(), found.queries.tolist(), found.labels.tolist()) == ([1, 2], [1, 2], [0, 0])
    assert [segment["score"] for segment in found.records()["segments_info"]] == [0.952574, 0.731059]


def test_nothing_above_the_threshold_is_a_map_of_background():
    found = vision.ranked_maps(torch.zeros(1, 2, 3), torch.ones(1, 2, 2, 2), sizes=[(3, 4)], threshold=0.5)[0]
    assert found.map.tolist() == [[-1] * 4] * 3 and found.records()["segments_info"] == []


def slow_map(logits, masks, size, threshold, mask_threshold, top_k):
    """One image, as transformers' method says it: pair after pair, painted where nothing is yet."""
    chances = logits.sigmoid().flatten()
    scores, pairs = chances.topk(min(top_k or len(logits), len(chances)))
    painted, segments = torch.full(size, -1, dtype=torch.int32), []
    for score, pair in zip(scores, pairs.tolist(), strict=True):
        if not score > threshold:
            continue
        plane = masks[pair // logits.shape[1]][None, None]
        free = (F.interpolate(plane, size=size, mode="bilinear", align_corners=False)[0, 0] > mask_threshold) & (
            painted == -1
        )
        if free.any():
            segments.append(
                {"id": len(segments) + 1, "label_id": pair % logits.shape[1], "score": round(float(score), 6)}
            )
            painted[free] = len(segments)
    return {"segmentation": painted, "segments_info": segments}


@pytest.mark.parametrize("chunk", [1, 1 << 22])
def test_equals_a_plain_loop(chunk, monkeypatch):
    """However few masks are upsampled at once."""
    monkeypatch.setattr(ranked, "CHUNK_BYTES", chunk)
    for seed in range(CASES):
        choose, generator = random.Random(seed), torch.Generator().manual_seed(seed)
        queries, classes = choose.randint(1, 8), choose.randint(1, 4)
        logits = torch.randn(2, queries, classes, generator=generator) * 2
        masks = torch.randn(2, queries, choose.randint(1, 9), choose.randint(1, 9), generator=generator)
        sizes = [(choose.randint(1, 40), choose.randint(1, 40)) for _ in range(2)]
        options = {
            "threshold": choose.choice((0.0, 0.3, 0.6)),
            "mask_threshold": choose.choice((0.0, 0.5, -0.5)),
            "top_k": choose.choice((None, 1, 100)),
        }
        ours = vision.ranked_maps(logits, masks, sizes=sizes, **options)
        for image, own in enumerate(ours):
            expected = slow_map(logits[image], masks[image], sizes[image], *options.values())
            assert own.records()["segments_info"] == expected["segments_info"], seed
            assert torch.equal(own.map, expected["segmentation"]), seed


def test_shapes_that_do_not_belong_together_are_refused():
    text = r"logits and mask_logits must be \[B, Q, C\] and \[B, Q, h, w\]; got shapes \[1, 2, 3\] and \[1, 4, 2, 2\]"
    with pytest.raises(ValueError, match=text):
        vision.ranked_maps(torch.zeros(1, 2, 3), torch.zeros(1, 4, 2, 2))
