"""Detections: what the facts of each family say, in figures, and transformers' own functions on drawn outputs."""

import math
from types import SimpleNamespace

import pytest
import torch
from transformers import OwlViTImageProcessor

from afterlogits.postprocess import vision
from tests.postprocess.vision.drawn_detections import CHECKS

CASES = 60


def boxes_of(*rows):
    return torch.tensor([rows])


# golden


def test_softmax_leaves_out_the_last_class_and_never_clips():
    """Softmax of (0, 0, 0) is 1/3; of (2, 2, 0) e^2 / (2 e^2 + 1) = .4683; the third query is "no object"."""
    logits = torch.tensor([[[0.0, 0, 0], [2, 2, 0], [0, 0, 5]]])
    boxes = boxes_of([0.5, 0.5, 1.2, 0.5], [0.25, 0.25, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1])
    found = vision.detect_softmax(logits, boxes, sizes=[(100, 200)], threshold=0.3)
    torch.testing.assert_close(found.scores, torch.tensor([1 / 3, 0.46831053]))
    assert found.labels.tolist() == [0, 0]
    # Centre 100, width 240; centre 50, height 50: from -20 to 220 and from 25 to 75.
    torch.testing.assert_close(found.boxes, torch.tensor([[-20.0, 25, 220, 75], [40, 20, 60, 30]]))
    assert found.records(["cat", "dog"])[0][0]["box"] == {"xmin": -20, "ymin": 25, "xmax": 220, "ymax": 75}


def test_a_score_equal_to_the_threshold_does_not_pass():
    third = float(torch.tensor(1 / 3))
    logits = torch.zeros(1, 1, 3)
    assert len(vision.detect_softmax(logits, torch.zeros(1, 1, 4), threshold=third).scores) == 0


def test_sigmoid_takes_the_best_pairs_of_query_and_class():
    """RT-DETR: as many pairs as queries; sigmoid(3) = .9526, sigmoid(1) = .7311; a query may come twice."""
    logits = torch.tensor([[[1.0, 0, 0], [0, 3, 0]]])
    boxes = boxes_of([0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.1, 0.1])
    found = vision.detect_sigmoid(logits, boxes, sizes=[(10, 10)], threshold=0.1, top_k=None)
    torch.testing.assert_close(found.scores, torch.tensor([0.95257413, 0.7310586]))
    assert (found.labels.tolist(), found.query.tolist()) == ([1, 0], [1, 0])
    torch.testing.assert_close(found.boxes, torch.tensor([[1.5, 1.5, 2.5, 2.5], [4, 4, 6, 6]]))


def test_sigmoid_keeps_top_k_of_equal_scores():
    """300 queries of 91 equal classes: exactly 100 of 27,300 pairs are kept."""
    found = vision.detect_sigmoid(torch.ones(1, 300, 91), torch.zeros(1, 300, 4), threshold=0.5)
    assert len(found.scores) == 100


def test_a_square_scales_both_axes_by_the_longer_side():
    """Box .5 +- .25 by .25 +- .25 of an image of 100 x 200: times 200 for OWLv2; times (200, 100) for OWL-ViT."""
    box = boxes_of([0.5, 0.25, 0.5, 0.5])
    square = vision.detect_best_label(torch.ones(1, 1, 1), box, sizes=[(100, 200)], square=True)
    assert square.boxes.tolist() == [[50.0, 0.0, 150.0, 100.0]]
    plain = vision.detect_best_label(torch.ones(1, 1, 1), boxes_of([0.5, 0.5, 0.5, 0.5]), sizes=[(100, 200)])
    assert plain.boxes.tolist() == [[50.0, 25.0, 150.0, 75.0]]


def test_image_guided_scores_are_display_alphas():
    """Scores .9526, .8808, .0180: of best .9526 + 1e-6 the alphas are 1, .9163 and below 0, which goes."""
    boxes = boxes_of([0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1])
    logits = torch.tensor([[[3.0], [2.0], [-4.0]]])
    found = vision.detect_image_guided(logits, boxes)
    torch.testing.assert_close(found.scores, torch.tensor([1.0, 0.9163]), atol=1e-4, rtol=0)
    corrected = vision.detect_image_guided(logits, boxes, compat=False)
    torch.testing.assert_close(corrected.scores, torch.tensor([3.0, 2.0, -4.0]).sigmoid())


def test_every_label_gives_a_box_once_per_label():
    """Two labels over one box: sigmoid(2) and sigmoid(1), the better first, and one box of two labels."""
    found = vision.detect_every_label(torch.tensor([[[1.0, 2.0]]]), boxes_of([0.5, 0.5, 1.0, 1.0]), sizes=[(4, 6)])
    assert found.labels.tolist() == [1, 0]
    assert found.boxes.tolist() == [[0.0, 0.0, 6.0, 4.0]] * 2
    top = vision.detect_every_label(torch.tensor([[[1.0, 2.0]]]), boxes_of([0.5, 0.5, 1.0, 1.0]), top_k=1)
    assert top.labels.tolist() == [1]


def test_thresholds_per_image_and_per_label():
    """Probabilities .5 and .88 in both images: image 0 keeps above .4, image 1 above .8; label 1 alone above .9."""
    logits = torch.tensor([[[0.0, -9.0], [-9.0, 2.0]]]).expand(2, 2, 2)
    boxes = torch.zeros(2, 2, 4)
    found = vision.detect_best_label(logits, boxes, threshold=torch.tensor([0.4, 0.8]))
    assert (found.image.tolist(), found.labels.tolist()) == ([0, 0, 1], [0, 1, 1])
    for detect in (vision.detect_best_label, vision.detect_sigmoid):
        found = detect(logits, boxes, label_thresholds=torch.tensor([0.4, 0.9]))
        assert (found.image.tolist(), found.labels.tolist()) == ([0, 1], [0, 0])


def test_nothing_found_and_no_images():
    nothing = vision.detect_softmax(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), sizes=[(4, 4), (5, 5)], threshold=0.9)
    assert nothing.records() == [[], []]
    assert [(row["boxes"].shape, row["labels"].dtype) for row in nothing.per_image()] == [((0, 4), torch.int64)] * 2
    for detect in (vision.detect_softmax, vision.detect_sigmoid, vision.detect_best_label, vision.detect_every_label):
        assert detect(torch.zeros(0, 3, 4), torch.zeros(0, 3, 4)).records() == []
        assert detect(torch.zeros(1, 0, 4), torch.zeros(1, 0, 4), sizes=[(4, 4)]).records() == [[]]


def test_coco_results():
    """Corners (1, 2, 4, 6) are left 1, top 2, width 3, height 4."""
    found = vision.Detections(
        torch.tensor([0.5]), torch.tensor([7]), torch.tensor([[1.0, 2, 4, 6]]), torch.tensor([1]), torch.tensor([0]), 2
    )
    assert found.coco([40, 41]) == [{"image_id": 41, "category_id": 7, "bbox": [1.0, 2.0, 3.0, 4.0], "score": 0.5}]


def test_merge_images_sorts_passes_over_one_image():
    """Passes 0 and 2 are of image 0, pass 1 of image 1; equal scores keep the order of the passes."""
    scores, labels = torch.tensor([0.5, 0.9, 0.5, 0.7]), torch.tensor([0, 1, 2, 3])
    image = torch.tensor([0, 1, 2, 2])
    found = vision.Detections(scores, labels, torch.zeros(4, 4), image, labels, 3)
    merged = vision.merge_images(found, [0, 1, 0], num_images=2)
    assert (merged.image.tolist(), merged.labels.tolist()) == ([0, 0, 0, 1], [3, 0, 2, 1])
    assert vision.merge_images(found, [0, 1, 0], num_images=2, top_k=1).labels.tolist() == [3, 1]


# property


@pytest.mark.parametrize("detect", [vision.detect_softmax, vision.detect_sigmoid, vision.detect_best_label])
def test_an_image_alone_is_the_image_in_its_batch(detect):
    generator = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(5, 40, 64, generator=generator), torch.rand(5, 40, 4, generator=generator)
    sizes = torch.tensor([[i + 1, 2 * i + 3] for i in range(5)])
    before = logits.clone(), boxes.clone()
    whole = detect(logits, boxes, sizes=sizes, threshold=0.02).per_image()
    for index in range(5):
        rows = slice(index, index + 1)
        alone = detect(logits[rows], boxes[rows], sizes=sizes[rows], threshold=0.02).per_image()[0]
        for key, value in alone.items():
            torch.testing.assert_close(value, whole[index][key])
    assert torch.equal(before[0], logits) and torch.equal(before[1], boxes)


# parity


@pytest.mark.parametrize("family", [*CHECKS])
def test_transformers_finds_the_same(family):
    """60 drawn outputs; ``python -m tests.programs.vision_parity`` draws thousands."""
    for seed in range(CASES):
        CHECKS[family](seed)


# errors


def test_an_image_of_nan_is_answered_as_transformers_does():
    """It leaves out an image whose every score is 0; NaN is none."""
    logits = torch.full((3, 2, 1), -200.0)
    logits[1, 0], logits[2, 1] = math.nan, 1.0
    assert vision.answered_images(logits).tolist() == [False, True, True]
    outputs = SimpleNamespace(logits=logits, target_pred_boxes=torch.rand(3, 2, 4))
    assert len(OwlViTImageProcessor().post_process_image_guided_detection(outputs)) == 2


def test_shapes_are_told():
    with pytest.raises(ValueError, match=r"logits must be \[B, Q, C\]; got shape \[2, 3\]"):
        vision.detect_softmax(torch.zeros(2, 3), torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"boxes must be \[2, 3, 4\]; got shape \[2, 3, 5\]"):
        vision.detect_sigmoid(torch.zeros(2, 3, 4), torch.zeros(2, 3, 5))
    with pytest.raises(ValueError, match=r"sizes must be \(height, width\) of each of 2 images; got shape \[1, 2\]"):
        vision.detect_softmax(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), sizes=[(1, 2)])
    with pytest.raises(ValueError, match=r"threshold must be a number or \[2\]; got shape \[3\]"):
        vision.detect_softmax(torch.zeros(2, 3, 4), torch.zeros(2, 3, 4), threshold=torch.zeros(3))
