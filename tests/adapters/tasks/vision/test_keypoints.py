"""Points of interest and poses against the processors of transformers (there is no pipeline); pairs of pictures."""

import re

import numpy as np
import pytest
import torch

from afterlogits import pipeline
from tests.builders.vision_models import parts, picture

PICTURES = [picture(64, 48, 1), picture(48, 64, 2), picture(64, 48, 3)]
BOXES = [[[5.0, 5.0, 20.0, 30.0], [30.0, 10.0, 20.0, 30.0]], [[0.0, 0.0, 40.0, 60.0]], [[3.5, 2.5, 30.0, 20.0]]]


def outputs_of(held, **inputs):
    with torch.no_grad():
        return held["model"](**inputs)


def test_points_of_interest_are_those_of_transformers():
    held = parts("superpoint")
    ours = pipeline("keypoint-detection", **held, device="cpu")(PICTURES)
    for image, own in zip(PICTURES, ours, strict=True):
        outputs = outputs_of(held, **held["image_processor"](image, return_tensors="pt"))
        (theirs,) = held["image_processor"].post_process_keypoint_detection(outputs, [(image.height, image.width)])
        assert torch.equal(own["keypoints"], theirs["keypoints"])
        torch.testing.assert_close(own["scores"], theirs["scores"])
        torch.testing.assert_close(own["descriptors"], theirs["descriptors"], rtol=1e-4, atol=1e-4)


def test_the_best_points_above_a_threshold():
    detect = pipeline("keypoint-detection", **parts("superpoint"), device="cpu")
    every = detect(PICTURES[0])
    limit = every["scores"].median().item()
    found = detect(PICTURES[0], threshold=limit, top_k=3, descriptors=False)
    assert set(found) == {"keypoints", "scores"}
    assert found["scores"].tolist() == every["scores"].sort(descending=True).values[:3].tolist()


def test_poses_are_those_of_transformers():
    held = parts("vitpose")
    items = [{"image": image, "boxes": boxes} for image, boxes in zip(PICTURES, BOXES, strict=True)]
    ours = pipeline("pose-estimation", **held, device="cpu")(items, threshold=0.0)
    process = held["image_processor"]
    for image, boxes, own in zip(PICTURES, BOXES, ours, strict=True):
        outputs = outputs_of(held, **process([image], boxes=[boxes], return_tensors="pt"))
        (theirs,) = process.post_process_pose_estimation(outputs, boxes=[boxes], threshold=0.0)
        assert len(own) == len(theirs) == len(boxes)
        for person, expected in zip(own, theirs, strict=True):
            torch.testing.assert_close(person["keypoints"], expected["keypoints"], rtol=1e-4, atol=1e-3)
            torch.testing.assert_close(person["scores"], expected["scores"])
            assert torch.equal(person["labels"], expected["labels"])
            torch.testing.assert_close(person["bbox"], expected["bbox"])


def test_without_boxes_the_picture_is_one_person():
    estimate = pipeline("pose-estimation", **parts("vitpose"), device="cpu")
    found = estimate(PICTURES[0])
    same = estimate(PICTURES[0], boxes=[[0, 0, 64, 48]])
    torch.testing.assert_close(found[0]["keypoints"], same[0]["keypoints"])
    assert estimate({"image": PICTURES[0], "boxes": []}) == []


def test_pairs_in_every_form():
    match = pipeline("keypoint-matching", **parts("superglue"), device="cpu")
    one = match([PICTURES[0], PICTURES[1]])
    assert match([[PICTURES[0], PICTURES[1]]]) == one
    assert match([(PICTURES[0], np.asarray(PICTURES[1]))] * 2) == [one, one]
    assert list(match(pair for pair in [[PICTURES[0], PICTURES[1]]])) == [one]
    assert one.picture().width == 64 + 48 + 8


def test_sizes_are_width_and_height_where_corrected():
    """transformers swaps them: x of a picture 64 wide and 48 high comes out as three quarters of it."""
    pair = [PICTURES[0], PICTURES[0]]
    swapped = pipeline("keypoint-matching", **parts("superglue"), device="cpu")(pair)
    right = pipeline("keypoint-matching", **parts("superglue"), device="cpu", compat=False)(pair)
    assert len(swapped) == len(right) > 0
    for wrong, own in zip(swapped, right, strict=True):
        assert wrong["keypoint_image_0"]["x"] == pytest.approx(own["keypoint_image_0"]["x"] * 48 / 64, abs=1)
        assert wrong["keypoint_image_0"]["y"] == pytest.approx(own["keypoint_image_0"]["y"] * 64 / 48, abs=2)
    assert max(each["keypoint_image_0"]["x"] for each in right) > 48


@pytest.mark.parametrize(
    ("task", "model", "item"),
    [
        ("keypoint-matching", "superglue", [PICTURES[0], PICTURES[1]]),
        ("keypoint-detection", "superpoint", PICTURES[0]),
        ("pose-estimation", "vitpose", {"image": PICTURES[0], "boxes": BOXES[0]}),
    ],
)
def test_they_draw_themselves_and_come_as_columns(task, model, item):
    pipe = pipeline(task, **parts(model), device="cpu")
    assert max(pipe(item).draw().size) >= 480
    columns = pipe([item, item], output="columns")
    assert len(columns["offsets"]) == 3
    assert columns["offsets"][-1] == len(columns["score" if "score" in columns else "scores"])


def test_wrong_boxes_and_pairs_are_refused():
    estimate = pipeline("pose-estimation", **parts("vitpose"), device="cpu")
    message = "boxes must be (left, top, width, height) with a width and a height; got [1.0, 2.0, 0.0, 3.0] in row 0"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        estimate(PICTURES[0], boxes=[[1.0, 2.0, 0.0, 3.0]])
    match = pipeline("keypoint-matching", **parts("superglue"), device="cpu")
    with pytest.raises(ValueError, match=r"^item 0: a pair must hold two pictures; got list$"):
        match([[PICTURES[0]] * 3, [PICTURES[0]] * 2])
    assert match([{"image": PICTURES[:2]}]) == match([iter(PICTURES[:2])]) == match([PICTURES[:2]])
    with pytest.raises(ValueError, match=r"^item 0: a pair must hold two pictures; got dict$"):
        match([{"image": PICTURES[0], "name": "0"}])
