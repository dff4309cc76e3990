"""Arrays without colours and pictures of odd shapes: an answer, or one error that names the item and costs no other."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

from afterlogits import pipeline
from afterlogits.adapters.checkpoints import path
from afterlogits.adapters.tasks.vision.detection import require_labels
from tests.builders.vision_models import parts, picture

PICTURE = picture()
PIXELS = np.asarray(PICTURE)
GREY = np.asarray(PICTURE.convert("L"))
LABELS = ("ground", "circle", "square", "triangle")
THREAD = Image.new("RGB", (20_000, 1))


@pytest.mark.parametrize(
    ("array", "same_picture"),
    [
        (GREY[..., None], PICTURE.convert("L")),
        (GREY[None], PICTURE.convert("L")),
        (np.dstack([PIXELS, GREY]), PICTURE),
        (torch.tensor(PIXELS / 255).permute(2, 0, 1).bfloat16(), None),
    ],
    ids=["one channel", "one channel first", "alpha", "bfloat16"],
)
def test_arrays_that_no_image_processor_takes_are_pictures(array, same_picture):
    classify = pipeline("image-classification", **parts("vit"), device="cpu")
    expected = classify(same_picture or Image.fromarray((array.float() * 255).round().byte().permute(1, 2, 0).numpy()))
    assert classify(array) == expected


def test_an_array_of_pictures_is_a_list_of_them():
    """As a column of a table holds them."""
    classify = pipeline("image-classification", **parts("vit"), device="cpu")
    column = np.empty(2, dtype=object)
    column[:] = [PICTURE, picture(seed=1)]
    assert classify(column) == classify(list(column))


def test_an_array_of_texts_is_refused():
    classify = pipeline("image-classification", **parts("vit"), device="cpu")
    with pytest.raises(TypeError, match=r"^image must be an array of numbers; got dtype <U1$"):
        classify(np.full((4, 4, 3), "a"))


@pytest.mark.parametrize(
    ("task", "model"), [("object-detection", "detr"), ("image-segmentation", "eomt"), ("depth-estimation", "glpn")]
)
def test_a_shape_that_cannot_be_prepared_costs_no_other_picture(task, model):
    pipe = pipeline(task, **parts(model), device="cpu")
    first, failed, last = pipe([PICTURE, THREAD, PICTURE], on_error="record")
    assert failed["error"].startswith("image must be one that the image processor can prepare; got 20000 x 1: ")
    assert "error" not in first and len(first) == len(last)
    with pytest.raises(ValueError, match=r"^item 1: image must be one that the image processor can prepare; got 20000"):
        pipe([PICTURE, THREAD])


def test_an_error_lists_twelve_labels_at_most():
    classes = {number: f"L{number}" for number in range(91)}
    with pytest.raises(
        ValueError, match=r"^label_thresholds must be one of 'L0', .*'L11', \.\.\. \(91 in all\); got 'x'$"
    ):
        require_labels(classes, {"x": 0.5})


def test_maps_of_classes_have_a_model_of_their_own():
    assert path("semantic-segmentation") == path("image-segmentation")
    assert {each["label"] for each in pipeline("semantic-segmentation")(PICTURE)} <= set(LABELS)


def test_pictures_in_a_list_are_the_frames_of_one_film():
    classify = pipeline("video-classification", **parts("videomae"), device="cpu")
    frames = [picture(seed=seed) for seed in range(5)]
    assert classify(frames) == classify([frames])[0] == classify(np.stack([np.asarray(frame) for frame in frames]))


def test_pairs_of_every_form(tmp_path):
    """A pair of dicts, of open files, in one array."""
    match = pipeline("keypoint-matching", **parts("superglue"), device="cpu")
    pair = [PICTURE, picture(seed=7)]
    expected = match(pair)
    for number, each in enumerate(pair):
        each.save(tmp_path / f"{number}.png")
    files = [tmp_path / "0.png", tmp_path / "1.png"]
    assert expected == match([{"image": each} for each in pair])
    assert expected == match([{"bytes": file.read_bytes(), "path": None} for file in files])
    assert expected == match(np.stack([np.asarray(each) for each in pair]))
    with files[0].open("rb") as first, files[1].open("rb") as second:
        assert expected == match([first, second])
    assert match([{"image": pair}, {"image": pair}]) == [expected, expected]


@pytest.mark.parametrize("boxes", ["x", [[[1, 2, 3, 4]], [[1, 2, 3, 4], [5, 6, 7, 8]]]])
def test_boxes_that_are_no_list_of_boxes(boxes):
    pipe = pipeline("pose-estimation", **parts("vitpose"), device="cpu")
    message = "boxes must be a list of boxes (left, top, width, height) of one picture; got "
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        pipe(PICTURE, boxes=boxes)


@pytest.mark.parametrize("template", ["{} {}", "a {kind}", "{"])
def test_a_template_that_takes_no_label(template):
    pipe = pipeline("zero-shot-image-classification", **parts("clip"), device="cpu")
    message = f"hypothesis_template must hold one {{}} for the label; got {template!r}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        pipe(PICTURE, candidate_labels=["cat"], hypothesis_template=template)


def test_a_count_of_points_is_checked():
    pipe = pipeline("keypoint-detection", **parts("superpoint"), device="cpu")
    with pytest.raises(ValueError, match=r"^top_k must be at least 1; got -3$"):
        pipe(PICTURE, top_k=-3)
    with pytest.raises(TypeError, match=r"^top_k must be an int or None; got str$"):
        pipe(PICTURE, top_k="5")
