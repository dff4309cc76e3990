"""Arrays without colours and pictures of odd shapes: an answer, or one error that names the item and costs no other."""

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


def test_a_count_of_points_is_checked():
    pipe = pipeline("keypoint-detection", **parts("superpoint"), device="cpu")
    with pytest.raises(ValueError, match=r"^top_k must be at least 1; got -3$"):
        pipe(PICTURE, top_k=-3)
    with pytest.raises(TypeError, match=r"^top_k must be an int or None; got str$"):
        pipe(PICTURE, top_k="5")
