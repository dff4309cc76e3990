"""Suppression against plain loops over boxes."""

import math

import pytest
import torch

from afterlogits.postprocess import vision
from afterlogits.postprocess.vision.nms import BLOCK


def plain_nms(boxes, scores, threshold, groups):
    """One box after the other, by descending score: kept unless a kept one of its group overlaps it by more."""
    overlaps = vision.pairwise_iou(boxes, boxes).tolist()
    kept = []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i].item(), i)):
        if not any(overlaps[i][k] > threshold for k in kept if groups[k] == groups[i]):
            kept.append(i)
    return kept


def draw_boxes(seed, most=40, spread=1.0):
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(0, most, (), generator=generator))
    corner = torch.rand(count, 2, generator=generator) * spread
    boxes = torch.cat((corner, corner + torch.rand(count, 2, generator=generator)), dim=1)
    if seed % 3 == 0:
        boxes = (boxes * 3).round()  # overlaps on the border, boxes without area
    scores = torch.rand(count, generator=generator)
    if seed % 4 == 0:
        scores = scores.mul(3).round()
    return boxes, scores, torch.randint(0, 3, (count,), generator=generator)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 0.7, 1.0])
def test_hard_suppression_equals_the_plain_loop(threshold):
    for seed in range(60):
        boxes, scores, groups = draw_boxes(seed)
        kept = vision.nms(boxes, scores, iou_threshold=threshold, groups=groups)
        assert kept.tolist() == plain_nms(boxes, scores, threshold, groups.tolist())
        kept = vision.nms(boxes, scores, iou_threshold=threshold)
        assert kept.tolist() == plain_nms(boxes, scores, threshold, [0] * len(scores))


@pytest.mark.parametrize("spread", [0.5, 6.0])
def test_more_boxes_than_a_block(spread):
    """Over several blocks, with groups that begin and end within one; few kept and many kept."""
    generator = torch.Generator().manual_seed(1)
    count = 3 * BLOCK + 17
    corner = torch.rand(count, 2, generator=generator) * spread
    boxes, scores = torch.cat((corner, corner + 0.4), dim=1), torch.rand(count, generator=generator)
    groups = torch.randint(0, 3, (count,), generator=generator).clamp_max(1)
    kept = vision.nms(boxes, scores, iou_threshold=0.4, groups=groups)
    assert kept.tolist() == plain_nms(boxes, scores, 0.4, groups.tolist())


def test_a_threshold_is_compared_as_a_double():
    """An overlap of float32(0.3), which is above 0.3: torchvision compares in double and removes the box."""
    boxes = torch.tensor([[0.0, 0, 10, 1], [0, 0, 3, 1]])
    assert vision.pairwise_iou(boxes[:1], boxes[1:]).item() > 0.3
    assert vision.nms(boxes, torch.tensor([0.9, 0.8]), iou_threshold=0.3).tolist() == [0]


def test_boxes_without_area_stay():
    boxes = torch.zeros(2, 4)
    assert vision.nms(boxes, torch.tensor([0.1, 0.2]), iou_threshold=0.0).tolist() == [1, 0]


def plain_soft_nms(boxes, scores, sigma, threshold):
    scores, left, lowered = scores.clone(), list(range(len(scores))), [0.0] * len(scores)
    while left:
        best = max(left, key=lambda i: (scores[i].item(), -i))
        left.remove(best)
        lowered[best] = scores[best].item()
        for i in left:
            overlap = vision.pairwise_iou(boxes[best : best + 1], boxes[i : i + 1]).item()
            overlap = 0.0 if math.isnan(overlap) else overlap
            if threshold is None:
                scores[i] *= math.exp(-(overlap**2) / sigma)
            elif overlap > threshold:
                scores[i] *= 1 - overlap
    return lowered


@pytest.mark.parametrize(("sigma", "threshold"), [(0.5, None), (0.1, None), (None, 0.3)])
def test_soft_suppression_equals_the_plain_loop(sigma, threshold):
    for seed in range(1, 60, 2):  # without rounded scores: a product rounds its ties apart
        boxes, scores, groups = draw_boxes(seed)
        ours = vision.soft_nms(boxes, scores, sigma=sigma, iou_threshold=threshold, groups=groups)
        for group in range(3):
            mine = groups == group
            theirs = torch.tensor(plain_soft_nms(boxes[mine], scores[mine], sigma, threshold))
            torch.testing.assert_close(ours[mine], theirs, rtol=1e-5, atol=1e-7)


def test_suppress_keeps_images_and_labels_apart():
    """Three equal boxes: of one image and label one stays, of another label or image each."""
    box = torch.tensor([[0.0, 0, 1, 1]]).expand(4, 4)
    labels, image = torch.tensor([0, 0, 1, 0]), torch.tensor([0, 0, 0, 1])
    found = vision.Detections(torch.tensor([0.5, 0.6, 0.7, 0.8]), labels, box, image, labels, 2)
    assert vision.suppress(found, iou_threshold=0.5).scores.tolist() == pytest.approx([0.6, 0.7, 0.8])
    assert vision.suppress(found, iou_threshold=0.5, per_label=False).scores.tolist() == pytest.approx([0.7, 0.8])


def test_errors():
    with pytest.raises(ValueError, match="iou_threshold must be a number; got nan"):
        vision.nms(torch.zeros(1, 4), torch.zeros(1), iou_threshold=math.nan)
    with pytest.raises(ValueError, match=r"boxes must be \[1, 4\]; got shape \[2, 4\]"):
        vision.nms(torch.zeros(2, 4), torch.zeros(1), iou_threshold=0.5)
    with pytest.raises(ValueError, match="sigma must be a number where there is no iou_threshold; got None"):
        vision.soft_nms(torch.zeros(2, 4), torch.zeros(2), sigma=None)
