"""Segments: ids and areas in figures, the corrected forms, and transformers' functions on drawn outputs."""

import pickle

import pytest
import torch

from afterlogits.postprocess import vision
from afterlogits.postprocess.vision.level_sets import count_above
from afterlogits.postprocess.vision.segments import segment_ids
from afterlogits.postprocess.vision.upsampling import resize, rounding
from tests.postprocess.vision import drawn_segmentations
from tests.postprocess.vision.drawn_segmentations import CHECKS

CASES = 60
HEAVY = ("panoptic, Mask2Former", "instances, Mask2Former")


def strips(labels, classes=3, score=6.0):
    """One query per label, each with a strip of a 4 x (2 * queries) image to itself."""
    count = len(labels)
    class_logits = torch.zeros(1, count, classes + 1)
    masks = torch.full((1, count, 4, 2 * count), -20.0)
    for place, label in enumerate(labels):
        class_logits[0, place, label] = score
        masks[0, place, :, 2 * place : 2 * place + 2] = 20.0
    return class_logits, masks


# golden


def test_a_fused_class_that_repeats_doubles_an_id():
    """Classes 0, 1, 0, 2 with 0 fused: ids 1, 2, 1, and then, counted on from 1, 2 again; corrected, 3."""
    class_logits, masks = strips([0, 1, 0, 2])
    compat = vision.panoptic_maps(class_logits, masks, fuse={0})[0]
    assert compat.ids.tolist() == [1, 2, 1, 2]
    assert compat.map[0].tolist() == [1, 1, 2, 2, 1, 1, 2, 2]
    assert compat.fused.tolist() == [True, False, True, False]
    corrected = vision.panoptic_maps(class_logits, masks, fuse={0}, compat=False)[0]
    assert corrected.ids.tolist() == [1, 2, 1, 3]
    assert segment_ids([0, 1, 0, 0, 2], [True] * 5, {0}, True)[0] == [1, 2, 1, 1, 2]
    assert segment_ids([0, 1, 0, 0, 2], [True] * 5, {0}, False)[0] == [1, 2, 1, 1, 3]


def test_the_mask_threshold_acts_on_score_times_probability():
    """Scores .55 and .45 of two solid masks: .45 * 1 never reaches .5."""
    probabilities = torch.tensor([[[0.55, 0.2, 0.25], [0.2, 0.45, 0.35]]])
    masks = torch.full((1, 2, 4, 8), -30.0)
    masks[0, 0, :, :4], masks[0, 1, :, 4:] = 30.0, 30.0
    found = vision.panoptic_maps(probabilities.log(), masks, threshold=0.4)[0]
    assert found.labels.tolist() == [0]
    assert found.map[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]


def test_nothing_kept_is_a_map_of_minus_one():
    """Best score .2: a float32 map of -1 there, an int32 map of 0 corrected."""
    flat = torch.zeros(1, 2, 5)
    compat = vision.panoptic_maps(flat, torch.zeros(1, 2, 3, 3), threshold=0.5, sizes=[(2, 2)])[0].records()
    assert compat["segmentation"].dtype == torch.float32
    assert compat["segmentation"].tolist() == [[-1.0, -1.0]] * 2
    assert compat["segments_info"] == []
    corrected = vision.panoptic_maps(flat, torch.zeros(1, 2, 3, 3), compat=False)[0]
    assert corrected.map.dtype == torch.int32 and not corrected.map.any()


def overlapping():
    """Two masks of a 4 x 8 image, columns 0-4 and 3-7, of classes 0 and 1."""
    class_logits = torch.tensor([[[4.0, 0, 0], [0, 4, 0]]])
    masks = torch.full((1, 2, 4, 8), -10.0)
    masks[0, 0, :, :5], masks[0, 1, :, 3:] = 10.0, 10.0
    return class_logits, masks


def test_instances_paint_over_one_another():
    """Equal scores, softmax(4, 0, 0) = .9647 times sigmoid(10): who is painted last covers columns 3 and 4."""
    found = vision.instance_maps(*overlapping())[0]
    assert sorted(found.segments.labels.tolist()) == [0, 1]
    assert found.segments.ids.tolist() == [0, 1]
    first, second = found.segments.labels.tolist()
    row = [first] * 3 + [second] * 2 if first == 0 else [1]
    ids = found.segments.map[0].tolist()
    assert ids[:3] == [float(found.segments.labels.tolist().index(0))] * 3
    assert ids[3] == ids[4] == 1.0, row  # painted last
    assert found.full_masks().sum(dim=(1, 2)).tolist() == [20, 20]
    assert found.segments.records()["segments_info"][0]["was_fused"] is False


def test_corrected_instances_have_the_best_on_top():
    class_logits, masks = overlapping()
    class_logits[0, 0, 0] = 6.0
    found = vision.instance_maps(class_logits, masks, compat=False)[0]
    assert found.segments.labels.tolist() == [1, 0]
    assert found.segments.map[0].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert found.segments.map.dtype == torch.int32


def test_an_instance_that_does_not_show_is_left_out():
    """One pixel of 8 x 8 in row 1, of which an image of 4 x 4 shows rows 0, 2, 4, 6."""
    class_logits = torch.tensor([[[6.0, 0]]])
    masks = torch.full((1, 1, 8, 8), -9.0)
    masks[0, 0, 1, 0] = 9.0
    assert len(vision.instance_maps(class_logits, masks)[0].masks) == 1
    shown = vision.instance_maps(class_logits, masks, sizes=[(4, 4)])[0]
    assert len(shown.masks) == 0
    assert shown.segments.map.tolist() == [[-1.0] * 4] * 4


# property


def test_counts_above_a_level_are_those_of_the_plane():
    """By cells, and where a value equals the level by the plane itself."""
    generator = torch.Generator().manual_seed(0)
    asked = 0
    for seed in range(60):
        plane = torch.rand(3 + seed % 9, 4 + seed % 7, generator=generator)
        plane = (plane * 4).round() / 4 if seed % 3 == 0 else plane
        size = (17 + seed, 140 + seed)
        whole = resize(plane[None], size)[0]

        def exact(whole=whole):
            nonlocal asked
            asked += 1
            return whole

        for level in (0.25, 0.5, 0.8):
            assert count_above(plane, size, level, rounding(plane), exact) == int((whole >= level).sum())
    assert 0 < asked < 180


def test_an_image_alone_is_the_image_in_its_batch():
    parts = [strips([0, 1, 0, 2]), strips([2, 2, 1, 0])]
    class_logits, masks = (torch.cat(column) for column in zip(*parts, strict=True))
    before = masks.clone()
    for maps in (vision.panoptic_maps, vision.instance_maps):
        whole = maps(class_logits, masks, sizes=[(40, 70), (9, 100)])
        for index, size in enumerate([(40, 70), (9, 100)]):
            rows = slice(index, index + 1)
            alone = maps(class_logits[rows], masks[rows], sizes=[size])[0]
            ours, theirs = (x if isinstance(x, vision.Segmentation) else x.segments for x in (alone, whole[index]))
            assert torch.equal(ours.map, theirs.map)
            assert torch.equal(ours.ids, theirs.ids)
    assert torch.equal(masks, before)


# parity


@pytest.mark.parametrize(
    "family", [name for name in CHECKS if name.startswith(("panoptic", "instances", "One", "EoMT"))]
)
def test_transformers_gives_the_same_segments(family):
    for seed in range(15 if family in HEAVY else CASES):
        CHECKS[family](seed)


@pytest.mark.parametrize("change", ["float16", "bfloat16", "float64", "grad"])
def test_transformers_gives_the_same_of_other_types_and_under_gradients(change, monkeypatch):
    """Outputs of a model in half precision, whose shares are summed in float32, and of one run without no_grad."""
    drawn = drawn_segmentations.draw_queries

    def changed(seed, **options):
        choose, classes, masks, sizes = drawn(seed, **options)
        if change == "grad":
            return choose, classes.requires_grad_(), masks.requires_grad_(), sizes
        return choose, classes, masks.to(getattr(torch, change)), sizes

    monkeypatch.setattr(drawn_segmentations, "draw_queries", changed)
    for seed in range(12):
        for family in ("instances", "instances, DETR", "panoptic", *(["OneFormer"] if change != "float64" else [])):
            CHECKS[family](seed)
    planes = torch.randn(1, 5, 9, 8, generator=torch.Generator().manual_seed(0))
    changes = planes.clone().requires_grad_() if change == "grad" else planes
    for sizes in (None, [(40, 50)]):
        assert torch.equal(vision.semantic_maps(changes, sizes=sizes)[0], vision.semantic_maps(planes, sizes=sizes)[0])


def test_a_logit_is_no_probability_for_oneformer():
    """A mask of logit 0.4 and a score of .99: .396 is below .5 there; as a probability it is .599 * .99 = .593."""
    class_logits, masks = strips([0], score=5.0)
    masks = masks.sign() * 0.4
    compat, corrected = (vision.pair_maps(class_logits, masks, compat=compat)[0] for compat in (True, False))
    assert compat.ids.tolist() == [] and compat.map.unique().tolist() == [0]
    assert corrected.ids.tolist() == [1] and corrected.map.unique().tolist() == [1]


def test_a_letterboxed_picture_is_cut_out_of_the_square():
    """Of a mask of 4 x 4 over a square of 8 x 8 the picture shows the upper half: the lower query is not there."""
    class_logits = torch.tensor([[[6.0, 0.0, 0.0], [0.0, 6.0, 0.0]]])
    masks = torch.full((1, 2, 4, 4), -20.0)
    masks[0, 0, :2], masks[0, 1, 2:] = 20.0, 20.0
    options = {"square": (8, 8), "shown": [(3, 8)], "sizes": [(6, 16)]}
    panoptic = vision.letterboxed_panoptic_maps(class_logits, masks, **options)[0]
    assert (panoptic.ids.tolist(), panoptic.labels.tolist()) == ([0], [0])
    assert panoptic.map.unique().tolist() == [0] and panoptic.map.dtype == torch.int64
    instances = vision.letterboxed_instance_maps(class_logits, masks, **options)[0]
    assert (instances.ids.tolist(), instances.map.unique().tolist()) == ([0], [0.0])


def test_a_batch_of_segments_is_a_sequence_that_pickles():
    """Three queries, of which the second has no pixel left: it is among the queries, not among the segments."""
    class_logits, masks = strips([0, 1, 0])
    masks[:, 1] = -30.0
    both = vision.panoptic_maps(class_logits.repeat(2, 1, 1), masks.repeat(2, 1, 1, 1))
    assert [each.shown.tolist() for each in both.queries] == [[True, False, True]] * 2
    assert (len(both), len(both[-1:]), len(list(both))) == (2, 1, 2)
    again = pickle.loads(pickle.dumps(both))
    assert [each.records()["segments_info"] for each in again] == [each.records()["segments_info"] for each in both]
    assert [info["label_id"] for info in both[1].records()["segments_info"]] == [0, 0]
    instances = vision.instance_maps(class_logits, masks)
    assert len(pickle.loads(pickle.dumps(instances))[0].masks) == len(instances[0].masks) == 2
    assert repr(both[:1]).startswith("[Segmentation(")


# errors


def test_a_letterbox_wants_every_size():
    with pytest.raises(ValueError, match="sizes and shown must name every image of the batch; got None and "):
        vision.letterboxed_instance_maps(
            torch.zeros(1, 2, 3), torch.zeros(1, 2, 4, 4), square=(8, 8), shown=[(8, 8)], sizes=None
        )


def test_shapes_are_told():
    with pytest.raises(ValueError, match=r"class_logits must be \[B, Q, C \+ 1\]; got shape \[2, 3\]"):
        vision.panoptic_maps(torch.zeros(2, 3), torch.zeros(1, 2, 3, 4))
    with pytest.raises(ValueError, match=r"mask_logits must be \[1, 2, h, w\]; got shape \[1, 3, 4, 4\]"):
        vision.instance_maps(torch.zeros(1, 2, 3), torch.zeros(1, 3, 4, 4))
