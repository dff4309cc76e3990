"""Results of vision tasks draw themselves, and options that transformers does not have: thresholds by label, tiles."""

import io
import json
import pickle
import re

import numpy as np
import pytest
import torch
from PIL import Image

from afterlogits import pipeline
from tests.builders.versions import V4
from tests.builders.vision_models import parts, picture, write_clip

PICTURE = picture(96, 64)
CALLS = {
    "image-classification": ("vit", {}),
    "object-detection": ("yolos", {"threshold": 0.1}),
    "zero-shot-object-detection": ("owlvit", {"candidate_labels": ["cat", "dog"], "threshold": 0.4}),
    "zero-shot-image-classification": ("clip", {"candidate_labels": ["cat", "dog"]}),
    "image-segmentation": ("segformer", {}),
}


def pipe(task, model=None, **options):
    return pipeline(task, **parts(model or CALLS[task][0]), device="cpu", **options)


@pytest.mark.parametrize("task", CALLS)
def test_every_result_draws_itself(task, tmp_path, monkeypatch):
    _, options = CALLS[task]
    path = tmp_path / "picture.png"
    PICTURE.save(path)
    found = pipe(task)(str(path), **options)
    assert found.source == str(path)
    drawn = found.draw()
    assert drawn.mode == "RGB" and max(drawn.size) >= 480
    assert Image.open(io.BytesIO(found._repr_png_())).size == drawn.size
    assert found._repr_html_().startswith("<img ")
    found.save(tmp_path / "drawn.jpg")
    assert Image.open(io.BytesIO((tmp_path / "drawn.jpg").read_bytes())).size == drawn.size
    shown = []
    monkeypatch.setattr(Image.Image, "show", lambda image: shown.append(image.size))
    found.show()
    assert shown == [drawn.size]


@pytest.mark.parametrize("task", CALLS)
def test_a_list_of_results_shows_each(task):
    _, options = CALLS[task]
    assert pipe(task)([PICTURE, PICTURE], **options)._repr_html_().count("<img ") == 2


def test_results_are_plain_lists_that_pickle():
    found = pipe("object-detection")(PICTURE, threshold=0.1)
    assert isinstance(found, list) and json.loads(json.dumps(found)) == list(found)
    again = pickle.loads(pickle.dumps(found))
    assert again == found and torch.equal(again.boxes, found.boxes)


def test_a_picture_from_memory_is_kept_for_the_drawing():
    found = pipe("image-classification")(torch.tensor(np.asarray(PICTURE)).permute(2, 0, 1) / 255, compat=False)
    assert found.draw().size[1] == round(64 * 480 / 96)


def test_labels_of_a_video_show_its_middle_frame(tmp_path):
    found = pipe("video-classification", "videomae")(write_clip(tmp_path / "clip.mp4", 8))
    assert len(found.frames) == 4
    assert max(found.draw().size) >= 480


def test_a_threshold_by_label():
    detect = pipe("object-detection")
    every = detect(PICTURE, threshold=0.0)
    label = every[0]["label"]
    kept = detect(PICTURE, threshold=0.0, label_thresholds={label: 1.0})
    assert kept == [record for record in every if record["label"] != label]
    lowered = detect(PICTURE, threshold=1.0, label_thresholds={label: 0.0})
    assert lowered == [record for record in every if record["label"] == label] != []
    zero_shot = pipe("zero-shot-object-detection")
    every = zero_shot(PICTURE, candidate_labels=["cat", "dog"], threshold=0.0)
    kept = zero_shot(PICTURE, candidate_labels=["cat", "dog"], threshold=0.0, label_thresholds={"dog": 1.0})
    assert kept == [record for record in every if record["label"] == "cat"] != []
    message = "label_thresholds must be one of 'LABEL_0', 'LABEL_1', 'LABEL_2', 'LABEL_3', 'LABEL_4'; got 'bird'"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        detect(PICTURE, label_thresholds={"bird": 0.5})


def test_a_threshold_by_label_of_segments():
    loose = {"threshold": 0.01, "mask_threshold": 0.05, "overlap_mask_area_threshold": 0.0}
    segment = pipe("panoptic-segmentation", "mask2former", **loose)
    every = segment(PICTURE, masks="none")
    label = every[0]["label"]
    kept = segment(PICTURE, masks="none", label_thresholds={label: 1.0})
    assert kept == [record for record in every if record["label"] != label]
    assert len(kept.ids) == len(kept) < len(every)


def test_instances_of_eomt():
    """transformers' pipeline hands its processor thresholds that it does not take, and stops with a TypeError."""
    assert len(pipe("instance-segmentation", "eomt", threshold=0.01)(PICTURE)) > 0


def test_tiles_are_set_back_in_place():
    """Tiles of 48 that overlap by a half: each answered alone, moved by its corner, the best first."""
    detect = pipe("object-detection")
    found = detect(PICTURE, threshold=0.1, tile=48, overlap=0.5)
    expected = []
    for top in (0, 16):
        for left in (0, 24, 48):
            for record in detect(PICTURE.crop((left, top, left + 48, top + 48)), threshold=0.1):
                expected.append((record["score"], record["label"], (left, top), record["box"]))
    assert len(found) == len(expected)
    for record, (score, label, (left, top), box) in zip(
        found, sorted(expected, key=lambda each: -each[0]), strict=True
    ):
        assert record["score"] == pytest.approx(score, abs=1e-6)
        assert record["label"] == label
        for name, shift in (("xmin", left), ("xmax", left), ("ymin", top), ("ymax", top)):
            # Each is cut to whole pixels: the tile's before it is moved, the picture's after.
            assert abs(record["box"][name] - box[name] - shift) <= 1


def test_tiles_that_see_one_object_twice_are_merged():
    detect = pipe("object-detection")
    every = detect(PICTURE, threshold=0.1, tile=48, overlap=0.5)
    merged = detect(PICTURE, threshold=0.1, tile=48, overlap=0.5, iou_threshold=0.5)
    assert 0 < len(merged) < len(every)
    assert all(record in every for record in merged)
    fused = detect(PICTURE, threshold=0.1, tile=48, overlap=0.5, iou_threshold=0.5, merge="fusion")
    assert 0 < len(fused) < len(every)
    assert [each["score"] for each in fused] == sorted((each["score"] for each in fused), reverse=True)
    assert detect(PICTURE, threshold=0.1, tile=96) == detect(PICTURE, threshold=0.1)


def test_the_best_of_a_zero_shot_detection():
    """top_k counts what is left after tiles and merging."""
    detect = pipe("zero-shot-object-detection", candidate_labels=["cat", "dog"], threshold=0.0)
    every = detect(PICTURE, iou_threshold=0.9)
    assert detect(PICTURE, iou_threshold=0.9, top_k=3) == every[:3]
    assert detect(PICTURE, top_k=3) == detect(PICTURE)[:3]
    assert len(detect(PICTURE, tile=48, top_k=5)) == 5


def test_wrong_options_are_refused():
    for options, message in (
        ({"overlap": 1.0}, "overlap must be in [0, 1); got 1.0"),
        ({"iou_threshold": 2}, "iou_threshold must be in [0, 1]; got 2"),
        ({"tile": 0}, "tile must be at least 1; got 0"),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
            pipe("object-detection", **options)
    kind = "SegformerImageProcessor" if V4 else "SegformerImageProcessorPil"
    message = f"subtask must be one of semantic for {kind}; got 'panoptic'"
    with pytest.raises(ValueError, match=f"^{message}$"):
        pipe("image-segmentation", subtask="panoptic")


def test_segments_without_pictures_of_masks():
    segment = pipe("image-segmentation")
    with_masks = segment(PICTURE)
    arrays = segment(PICTURE, masks="array")
    bare = segment(PICTURE, masks="none")
    for record, array, short in zip(with_masks, arrays, bare, strict=True):
        np.testing.assert_array_equal(np.asarray(record["mask"]), array["mask"])
        assert short == {"score": None, "label": record["label"]}
    assert torch.equal(bare.segmentation, with_masks.segmentation)


def test_a_broken_picture_costs_no_other_its_answer(tmp_path):
    path = tmp_path / "cut.png"
    PICTURE.save(path)
    path.write_bytes(path.read_bytes()[:200])
    classify = pipe("image-classification")
    found = classify([PICTURE, str(path), PICTURE], on_error="record")
    assert found[0] == found[2] and len(found[0]) == 5
    assert found[1]["error"].startswith(f"image must be a whole picture; got {str(path)!r}"[:60])
    with pytest.raises(ValueError, match=r"^item 1: image must be a whole picture"):
        classify([PICTURE, str(path)])


def test_columns_come_from_tensors():
    detect = pipe("object-detection")
    records = detect([PICTURE, PICTURE], threshold=0.1)
    columns = detect([PICTURE, PICTURE], threshold=0.1, output="columns")
    assert columns["offsets"].tolist() == [0, len(records[0]), len(records[0]) + len(records[1])]
    assert columns["label"] == [record["label"] for own in records for record in own]
    assert columns["box"].tolist() == [list(record["box"].values()) for own in records for record in own]
    table = detect([PICTURE], threshold=0.1, output="arrow")
    assert table.column_names == ["item", "score", "label", "box"]
    segments = pipe("image-segmentation")([PICTURE], output="columns")
    assert segments["area"].sum() == 96 * 64


def test_bytes_of_every_kind_are_one_picture(tmp_path):
    PICTURE.save(tmp_path / "picture.png")
    content = (tmp_path / "picture.png").read_bytes()
    classify = pipe("image-classification")
    assert [classify(kind(content)) for kind in (bytes, bytearray, memoryview)] == [classify(PICTURE)] * 3


def test_generators_stream_and_datasets_are_read():
    classify = pipe("image-classification")
    read = []

    def pictures():
        for number in range(40):
            read.append(number)
            yield {"image": picture(40, 40, number)}

    stream = classify(pictures())
    first = next(stream)
    assert len(read) < 40
    assert [first, *stream] == classify([picture(40, 40, number) for number in range(40)])
