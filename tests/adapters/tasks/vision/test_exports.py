"""Detections and segments in the forms of other tools: numbers worked out by hand on a map of 4 x 5."""

import numpy as np
import pytest
import torch

from afterlogits.adapters.tasks.vision.results import Detected, Masks, Segments, of_source
from afterlogits.postprocess.vision.run_lengths import read_run_lengths

MAP = torch.tensor(
    [[0, 1, 1, 0, 0], [0, 1, 0, 1, 0], [0, 1, 1, 1, 0], [2, 2, 0, 0, 0]],
    dtype=torch.int16,
)
SEGMENTS = of_source(
    Segments([{"score": 0.9, "label": "ring"}, {"score": 0.8, "label": "bar"}]),
    None,
    segmentation=MAP,
    ids=[1, 2],
    label_ids=[4, 7],
)
BOXES = of_source(
    Detected([{"score": 0.5, "label": "cat", "box": {"xmin": 1, "ymin": 2, "xmax": 3, "ymax": 5}}]),
    None,
    boxes=torch.tensor([[1.25, 2.5, 3.75, 5.0]]),
    label_ids=torch.tensor([3]),
)


def test_coco_of_boxes():
    assert BOXES.coco(image_id=7) == [{"image_id": 7, "category_id": 3, "bbox": [1.25, 2.5, 2.5, 2.5], "score": 0.5}]
    assert BOXES.coco(category_ids={"cat": 17})[0]["category_id"] == 17


def test_coco_of_segments():
    """The ring covers columns 1 to 3 and rows 0 to 2, 7 pixels; the bar two pixels of row 3."""
    ring, bar = SEGMENTS.coco()
    assert (ring["bbox"], ring["area"], ring["category_id"]) == ([1, 0, 3, 3], 7, 4)
    assert (bar["bbox"], bar["area"], bar["category_id"]) == ([0, 3, 2, 1], 2, 7)
    masks = read_run_lengths([ring["segmentation"], bar["segmentation"]]).decode()
    assert torch.equal(masks, torch.stack([MAP == 1, MAP == 2]))


def test_panoptic_colours_are_ids_plus_one():
    picture, annotation = SEGMENTS.panoptic(image_id=3, file_name="a.png")
    pixels = np.asarray(picture).astype(int)
    np.testing.assert_array_equal(pixels @ [1, 256, 65536], np.where(MAP == 0, 0, MAP.numpy() + 1))
    assert annotation["file_name"] == "a.png"
    assert [each["id"] for each in annotation["segments_info"]] == [2, 3]
    assert [each["bbox"] for each in annotation["segments_info"]] == [[1, 0, 3, 3], [0, 3, 2, 1]]


def test_fields_of_supervision():
    fields = SEGMENTS.supervision()
    np.testing.assert_array_equal(fields["xyxy"], [[1, 0, 4, 3], [0, 3, 2, 4]])
    np.testing.assert_array_equal(fields["mask"], np.stack([MAP == 1, MAP == 2]))
    np.testing.assert_allclose(fields["confidence"], [0.9, 0.8], rtol=1e-6)
    assert fields["class_id"].tolist() == [4, 7]
    assert fields["data"]["class_name"].tolist() == ["ring", "bar"]
    boxes = BOXES.supervision()
    assert boxes["mask"] is None and boxes["xyxy"].tolist() == [[1.25, 2.5, 3.75, 5.0]]


def test_polygons_have_closed_rings():
    """The ring is not closed at its upper right: one outline of area 7 without a hole."""
    ring, bar = SEGMENTS.polygons()["features"]
    assert [len(polygon) for polygon in ring["geometry"]["coordinates"]] == [1]
    assert ring["properties"] == {"label": "ring", "score": 0.9}
    assert bar["geometry"] == {"type": "MultiPolygon", "coordinates": [[[[0, 3], [2, 3], [2, 4], [0, 4], [0, 3]]]]}
    (feature,) = BOXES.polygons()["features"]
    assert feature["geometry"]["coordinates"][0][2] == [3.75, 5.0]


def test_numpy_columns():
    columns = SEGMENTS.numpy()
    assert columns["labels"].tolist() == ["ring", "bar"]
    assert columns["masks"].shape == (2, 4, 5)
    assert columns["label_ids"].tolist() == [4, 7]


def test_masks_of_everything():
    masks = Masks({"masks": [np.eye(3, dtype=bool)], "scores": torch.tensor([0.75])})
    (found,) = masks.coco()
    assert (found["category_id"], found["area"], found["score"]) == (0, 3, 0.75)
    assert masks.numpy()["boxes"].tolist() == [[0, 0, 3, 3]]


@pytest.mark.parametrize("form", ["coco", "supervision", "polygons", "numpy"])
def test_nothing_found_is_exported_as_nothing(form):
    for empty in (
        of_source(Segments([]), None, segmentation=MAP, ids=[], label_ids=[]),
        of_source(Detected([]), None, boxes=torch.zeros(0, 4), label_ids=torch.zeros(0, dtype=torch.long)),
        Masks({"masks": [], "scores": torch.zeros(0)}),
    ):
        found = getattr(empty, form)()
        listed = found["features"] if form == "polygons" else found.get("boxes", found.get("xyxy")) if found else found
        assert len(listed) == 0
    if form == "numpy":
        assert of_source(Detected([]), None, boxes=torch.zeros(0, 4)).numpy()["labels"].dtype.kind == "U"
