"""Masks of everything, against transformers' pipeline with a plain loop in the place of torchvision's NMS."""

import sys
from types import ModuleType

import numpy as np
import pytest
import torch
import transformers
from packaging.version import Version

from afterlogits import pipeline
from afterlogits.postprocess.vision.connected import connected_pieces
from tests.builders.vision_models import parts, picture

PICTURE = picture(96, 64, 5)
LOOSE = {"points_per_crop": 3, "points_per_batch": 4, "pred_iou_thresh": -10.0, "stability_score_thresh": 0.0}
CASES = [
    LOOSE,
    {**LOOSE, "stability_score_thresh": 0.5, "stability_score_offset": 0.005},
    {**LOOSE, "pred_iou_thresh": 0.2, "crops_nms_thresh": 0.95},
    {**LOOSE, "crops_n_layers": 1, "points_per_batch": 9},
    {**LOOSE, "mask_threshold": 0.02, "points_per_batch": None, "crops_nms_thresh": 1.0},
]


def plain_nms(boxes, scores, idxs, iou_threshold):
    """Best first; a box goes where it overlaps one that stayed by more than the threshold. All are of one class."""
    kept = []
    for number in scores.argsort(descending=True, stable=True).tolist():
        left, top, right, bottom = boxes[number].tolist()
        for other in kept:
            x0, y0, x1, y1 = boxes[other].tolist()
            shared = max(0.0, min(right, x1) - max(left, x0)) * max(0.0, min(bottom, y1) - max(top, y0))
            whole = (right - left) * (bottom - top) + (x1 - x0) * (y1 - y0) - shared
            if whole > 0 and np.float32(shared) / np.float32(whole) > np.float32(iou_threshold):
                break
        else:
            kept.append(number)
    return torch.tensor(kept, dtype=torch.long)


@pytest.fixture
def torchvision(monkeypatch):
    """A module of that name with the one function that the pipeline asks for."""
    boxes = ModuleType("torchvision.ops.boxes")
    boxes.batched_nms = plain_nms
    modules = {"torchvision": ModuleType("torchvision"), "torchvision.ops": ModuleType("torchvision.ops")}
    for name, module in {**modules, "torchvision.ops.boxes": boxes}.items():
        monkeypatch.setitem(sys.modules, name, module)
    processor = type(parts("sam")["image_processor"])
    last_step = sys.modules[processor.__module__]._post_process_for_mask_generation
    monkeypatch.setattr(processor, "post_process_for_mask_generation", lambda self, *found: last_step(*found))


@pytest.mark.skipif(Version(transformers.__version__).major < 5, reason="4.57.6 needs torchvision when it is imported")
@pytest.mark.parametrize("options", CASES)
def test_the_masks_are_those_of_transformers(options, torchvision):
    asked = {**options, "output_rle_mask": True, "output_bboxes_mask": True}
    theirs = transformers.pipeline("mask-generation", **parts("sam"), device="cpu")(PICTURE, **asked)
    ours = pipeline("mask-generation", **parts("sam"), device="cpu")(PICTURE, **asked)
    assert set(ours) == set(theirs)
    assert len(ours["masks"]) == len(theirs["masks"]) > 0
    torch.testing.assert_close(ours["scores"], theirs["scores"])
    assert torch.equal(ours["bounding_boxes"], theirs["bounding_boxes"])
    for mine, other in zip(ours["rle_mask"], theirs["rle_mask"], strict=True):
        assert (list(mine["size"]), mine["counts"]) == (list(other["size"]), [int(count) for count in other["counts"]])
    for mine, other in zip(ours["masks"], theirs["masks"], strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)


def test_nothing_good_enough_gives_empty_lists():
    found = pipeline("mask-generation", **parts("sam"), device="cpu")(
        PICTURE, points_per_crop=2, pred_iou_thresh=2.0, output_rle_mask=True, output_bboxes_mask=True
    )
    assert (found["masks"], found["rle_mask"], found["scores"].shape) == ([], [], (0,))


def test_fewer_points_in_smaller_crops():
    """transformers stops where the crops have points of different numbers."""
    generate = pipeline("mask-generation", **parts("sam"), device="cpu")
    found = generate(PICTURE, **{**LOOSE, "crops_n_layers": 1, "crop_n_points_downscale_factor": 3})
    assert len(found["masks"]) > 0


def test_small_holes_and_islands_go_where_corrected():
    generate = pipeline("mask-generation", **parts("sam"), device="cpu")
    options = {**LOOSE, "crops_nms_thresh": 1.0, "max_hole_area": 12, "max_sprinkle_area": 12}
    as_there = generate(PICTURE, **options)
    cleaned = generate(PICTURE, **options, compat=False)
    assert len(as_there["masks"]) == len(cleaned["masks"])
    for mask in cleaned["masks"]:
        pieces = torch.bincount(connected_pieces(torch.from_numpy(np.ascontiguousarray(mask))).flatten())[1:]
        assert (pieces > 12).all()


def test_masks_draw_themselves_and_come_as_columns():
    generate = pipeline("mask-generation", **parts("sam"), device="cpu")
    found = generate(PICTURE, **LOOSE)
    assert max(found.draw().size) >= 480
    columns = generate([PICTURE, PICTURE], **LOOSE, output="columns")
    assert columns["offsets"].tolist() == [0, len(found["masks"]), 2 * len(found["masks"])]
    assert columns["area"][: len(found["masks"])].tolist() == [int(mask.sum()) for mask in found["masks"]]
    assert len(found.coco()) == len(found["masks"])


def test_without_masks_run_lengths_and_drawings_are_the_same():
    pipe = pipeline("mask-generation", **parts("sam"), device="cpu")
    options = {**LOOSE, "output_rle_mask": True, "output_bboxes_mask": True}
    whole, bare = pipe(PICTURE, **options), pipe(PICTURE, **options, masks="none")
    assert list(bare) == ["scores", "rle_mask", "bounding_boxes"] and len(bare["scores"]) > 1
    assert bare["rle_mask"] == whole["rle_mask"]
    assert bare.coco() == whole.coco()
    assert bare.draw().tobytes() == whole.draw().tobytes()
    with pytest.raises(ValueError, match=r"^masks must be one of 'array', 'none'; got 'rle'$"):
        pipe(PICTURE, masks="rle")
