"""Twenty tricky cases with values worked out by hand: transformers' methods and installed processors both give them."""

import copy
import warnings
from types import SimpleNamespace as Outputs

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from afterlogits import pipeline
from afterlogits.adapters import install_postprocess
from afterlogits.benchmarks.answers import require_same
from afterlogits.postprocess import vision
from tests.builders.versions import rule_of_five
from tests.builders.vision_models import parts, picture


def asked(name, method, outputs, *, theirs=True, **options):
    """What an installed processor answers, once transformers' own method has answered the same."""
    plain = getattr(transformers, name)()
    installed = install_postprocess(getattr(transformers, name)())
    found = getattr(installed, f"post_process_{method}")(copy.deepcopy(outputs), **options)
    if theirs:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # softmax without an axis, division of a constant map
            expected = getattr(plain, f"post_process_{method}")(copy.deepcopy(outputs), **options)
        require_same([{**own} for own in found], [{**own} for own in expected], rtol=2e-6)
    return found


def detected(logits, boxes):
    return Outputs(logits=torch.tensor([logits]), pred_boxes=torch.tensor([boxes]))


DETR = detected(
    [[0.0, 0, 0], [2, 2, 0], [0, 0, 5]], [[0.5, 0.5, 1.2, 0.5], [0.25, 0.25, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1]]
)


def test_1_the_last_class_is_no_object_and_boxes_are_not_clipped():
    """1 / 3, and e^2 / (2 e^2 + 1) = .4683; centre 100 and width 240 reach from -20 to 220."""
    (found,) = asked("DetrImageProcessor", "object_detection", DETR, threshold=0.3, target_sizes=[(100, 200)])
    assert found["scores"].tolist() == pytest.approx([0.3333, 0.4683], abs=1e-4)
    assert found["labels"].tolist() == [0, 0]
    torch.testing.assert_close(found["boxes"], torch.tensor([[-20.0, 25, 220, 75], [40, 20, 60, 30]]))


def test_2_a_score_equal_to_the_threshold_does_not_pass():
    outputs = detected([[0.0, 0, 0]], [[0.5, 0.5, 1.2, 0.5]])
    (found,) = asked("DetrImageProcessor", "object_detection", outputs, threshold=float(torch.tensor(1 / 3)))
    assert (found["scores"].shape, found["labels"].dtype, found["boxes"].shape) == ((0,), torch.int64, (0, 4))


RT_DETR = detected([[1.0, 0, 0], [0, 3, 0]], [[0.5, 0.5, 0.2, 0.2], [0.2, 0.2, 0.1, 0.1]])


def test_3_as_many_pairs_as_queries():
    """sigmoid(3) = .9526 and sigmoid(1) = .7311; the four pairs of sigmoid(0) = .5 find no place."""
    (found,) = asked("RTDetrImageProcessor", "object_detection", RT_DETR, threshold=0.1, target_sizes=[(10, 10)])
    assert found["scores"].tolist() == pytest.approx([0.9526, 0.7311], abs=1e-4)
    assert found["labels"].tolist() == [1, 0]
    torch.testing.assert_close(found["boxes"], torch.tensor([[1.5, 1.5, 2.5, 2.5], [4, 4, 6, 6]]))


def test_4_without_focal_loss_the_softmax_is_over_the_batch():
    """Of one image: every score is 1 and every label 0."""
    with pytest.warns(UserWarning, match="Implicit dimension choice"):
        (found,) = asked("RTDetrImageProcessor", "object_detection", RT_DETR, use_focal_loss=False)
    assert (found["scores"].tolist(), found["labels"].tolist()) == ([1.0, 1.0], [0, 0])


def test_5_exactly_a_hundred_of_equal_scores():
    outputs = Outputs(logits=torch.ones(1, 300, 91), pred_boxes=torch.rand(1, 300, 4))
    (found,) = asked("DeformableDetrImageProcessor", "object_detection", outputs, threshold=0.5)
    assert len(found["scores"]) == 100


@pytest.mark.parametrize(
    ("name", "box", "corners"),
    [
        ("Owlv2ImageProcessor", [0.5, 0.25, 0.5, 0.5], [50, 0, 150, 100]),
        ("OwlViTImageProcessor", [0.5, 0.5, 0.5, 0.5], [50, 25, 150, 75]),
    ],
)
def test_6_owlv2_scales_both_axes_by_the_longer_side(name, box, corners):
    (found,) = asked(name, "object_detection", detected([[1.0]], [box]), target_sizes=[(100, 200)])
    assert found["boxes"].tolist() == [corners]


def test_7_scores_of_a_guided_detection_are_display_alphas():
    """sigmoid 3, 2, -4: (.8808 - .0953) / (.9 * .9526) = .9163; the third is below a tenth of the best."""
    boxes = torch.tensor([[[0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1], [0.9, 0.9, 0.1, 0.1]]])
    outputs = Outputs(logits=torch.tensor([[[3.0], [2.0], [-4.0]]]), target_pred_boxes=boxes)
    options = {"threshold": 0.0, "nms_threshold": 0.3, "target_sizes": torch.tensor([[100, 100]])}
    (found,) = asked("OwlViTImageProcessor", "image_guided_detection", outputs, **options)
    assert found["scores"].tolist() == pytest.approx([1.0, 0.9163], abs=1e-4)


def queries(scores, masks):
    """Outputs of MaskFormer with these probabilities of classes, and masks [Q, H, W] that are solid where True."""
    logits = torch.tensor([scores]).log()
    return Outputs(
        class_queries_logits=logits, masks_queries_logits=torch.where(torch.as_tensor(masks), 30.0, -30.0)[None]
    )


def strips(count, height=8, width=16):
    """As many upright strips of an image."""
    return [
        [[place * width // count <= x < (place + 1) * width // count for x in range(width)]] * height
        for place in range(count)
    ]


def test_8_a_fused_class_that_repeats_doubles_an_id():
    """Classes 0, 1, 0, 2 with 0 fused: ids 1, 2, 1, 2; corrected, the last is 3."""
    rows = [[0.97, 0.01, 0.01, 0.01], [0.01, 0.97, 0.01, 0.01], [0.97, 0.01, 0.01, 0.01], [0.01, 0.01, 0.97, 0.01]]
    outputs = queries(rows, strips(4))
    (found,) = asked("MaskFormerImageProcessor", "panoptic_segmentation", outputs, label_ids_to_fuse={0})
    assert [segment["id"] for segment in found["segments_info"]] == [1, 2, 1, 2]
    logits, masks = outputs.class_queries_logits, outputs.masks_queries_logits
    assert vision.panoptic_maps(logits, masks, fuse={0}, compat=False)[0].ids.tolist() == [1, 2, 1, 3]


def test_9_the_mask_threshold_is_held_against_score_times_probability():
    """A solid mask of score .45 never reaches .5."""
    outputs = queries([[0.55, 0.2, 0.25], [0.2, 0.45, 0.35]], strips(2))
    options = {"threshold": 0.4, "mask_threshold": 0.5, "label_ids_to_fuse": set()}
    (found,) = asked("MaskFormerImageProcessor", "panoptic_segmentation", outputs, **options)
    assert [segment["label_id"] for segment in found["segments_info"]] == [0]


def test_10_nothing_found_is_a_map_of_another_type():
    outputs = queries([[0.2, 0.2, 0.6], [0.2, 0.2, 0.6]], strips(2))
    (found,) = asked("MaskFormerImageProcessor", "panoptic_segmentation", outputs, label_ids_to_fuse=set())
    assert found["segmentation"].dtype == torch.float32 and bool((found["segmentation"] == -1).all())
    assert found["segments_info"] == []
    kept = queries([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05]], strips(2))
    (found,) = asked("MaskFormerImageProcessor", "panoptic_segmentation", kept, label_ids_to_fuse=set())
    assert found["segmentation"].dtype == torch.int32 and found["segmentation"].unique().tolist() == [1, 2]


def test_11_later_instances_are_painted_over_earlier_ones():
    """Columns 0 to 4 of class 0, 3 to 7 of class 1, equal scores: 3 and 4 are those of whichever comes last."""
    masks = [[[column < 5 for column in range(8)]] * 4, [[column > 2 for column in range(8)]] * 4]
    outputs = queries([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01]], masks)
    (found,) = asked("MaskFormerImageProcessor", "instance_segmentation", outputs)
    row = found["segmentation"][0].tolist()
    assert sorted(segment["label_id"] for segment in found["segments_info"]) == [0, 1]
    assert [segment["id"] for segment in found["segments_info"]] == [0, 1]
    assert row in ([1, 1, 1, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 1, 1, 1])
    (runs,) = asked("MaskFormerImageProcessor", "instance_segmentation", outputs, return_coco_annotation=True)
    assert len(runs["segmentation"]) == 2  # one of each value of the map, -1 too where it stands
    assert sorted(map(list, runs["segmentation"]))[0][:6] in ([1, 3, 9, 3, 17, 3], [1, 5, 9, 5, 17, 5])


def test_12_row_major_run_lengths_count_from_one():
    """Rows 0, 1, 1 and 1, 0, 0: a run of three from the second pixel."""
    assert vision.mask_runs(torch.tensor([[0, 1, 1], [1, 0, 0]])) == [2, 3]


def test_13_run_lengths_go_down_the_columns():
    """0, 1 / 1, 1 read by columns is 0, 1, 1, 1; a mask of ones begins with no zero."""
    masks = torch.tensor([[[0, 1], [1, 1]], [[0, 0], [0, 0]], [[1, 1], [1, 1]]]).bool()
    assert [own["counts"] for own in vision.encode_masks(masks).records()] == [[1, 3], [4], [0, 4]]
    assert vision.mask_boxes(masks).tolist() == [[0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 1, 1]]


def test_14_an_empty_mask_has_no_stability():
    """0 / 0 passes no threshold; where none is asked for it is kept: 64 pixels without a mask."""
    low, options = torch.full((1, 1, 8, 8), -5.0), {"image_size": (8, 8), "pred_iou_thresh": 0.5}
    dropped = vision.filter_masks(low, torch.ones(1, 1), **options, stability_score_thresh=0.5)
    kept = vision.filter_masks(low, torch.ones(1, 1), **options, stability_score_thresh=0.0)
    assert (dropped.runs.lists(), kept.runs.lists()) == ([], [[64]])


@rule_of_five
def test_15_points_are_cut_toward_zero_and_a_score_of_nothing_is_no_match():
    """-.01 of 200 is -2; .999 of 200 is 199; the score 0 is not above the threshold 0."""
    points = torch.tensor([[[[0.5, 0.5], [0.999, 0.1], [-0.01, 0.2]], [[0.5, 0.5], [0.1, 0.1], [0.2, 0.2]]]])
    matches = torch.tensor([[[0, 2, 1], [0, 2, 1]]])
    scores = torch.tensor([[[0.5, 0.0, 0.9], [0.5, 0.9, 0.0]]])
    outputs = Outputs(keypoints=points, mask=torch.ones(1, 2, 3).int(), matches=matches, matching_scores=scores)
    options = {"target_sizes": [[(100, 200), (50, 60)]], "threshold": 0.0}
    (found,) = asked("SuperGlueImageProcessor", "keypoint_matching", outputs, **options)
    assert found["keypoints0"].tolist() == [[100, 50], [-2, 20]]
    assert found["keypoints1"].tolist() == [[30, 25], [6, 5]]
    assert found["matching_scores"].tolist() == pytest.approx([0.5, 0.9])


def test_16_equal_labels_come_by_their_number_and_minus_one_leaves_one_out():
    own = parts("vit")
    model = copy.deepcopy(own["model"])
    torch.nn.init.zeros_(model.classifier.weight)
    torch.nn.init.zeros_(model.classifier.bias)
    shared = {"model": model, "image_processor": own["image_processor"], "device": "cpu"}
    ours, theirs = pipeline("image-classification", **shared), transformers.pipeline("image-classification", **shared)
    names = [model.config.id2label[number] for number in range(model.config.num_labels)]
    for top_k, expected in ((2, names[:2]), (-1, names[:-1]), (0, []), (None, names[:5])):
        found = ours(picture(40, 30, 0), top_k=top_k)
        assert [each["label"] for each in found] == expected
        assert found == theirs(picture(40, 30, 0), top_k=top_k)


def test_17_the_lowest_of_equal_classes_and_nan_above_all():
    logits = torch.zeros(1, 3, 2, 2)
    logits[0, 1, 0, 0], logits[0, 2, 1, 1] = 1.0, torch.nan
    found = install_postprocess(transformers.SegformerImageProcessor()).post_process_semantic_segmentation(
        Outputs(logits=logits)
    )
    plain = transformers.SegformerImageProcessor().post_process_semantic_segmentation(Outputs(logits=logits))
    assert found[0].tolist() == plain[0].tolist() == [[1, 0], [0, 2]]


def test_18_a_depth_map_of_one_row_loses_an_axis():
    outputs = Outputs(predicted_depth=torch.rand(1, 4, 6, generator=torch.Generator().manual_seed(0)))
    (found,) = asked("DPTImageProcessor", "depth_estimation", outputs, target_sizes=[(1, 5)])
    assert found["predicted_depth"].shape == (5,)
    assert vision.depth_maps(outputs.predicted_depth, sizes=[(1, 5)], compat=False)[0].shape == (1, 5)


def test_19_a_string_of_labels_is_a_label_a_character():
    shared = {**parts("clip"), "device": "cpu"}
    ours = pipeline("zero-shot-image-classification", **shared)
    theirs = transformers.pipeline("zero-shot-image-classification", **shared)
    found = ours(picture(40, 30, 0), candidate_labels="a,b")
    assert sorted(each["label"] for each in found) == [",", "a", "b"]
    assert [each["label"] for each in found] == [
        each["label"] for each in theirs(picture(40, 30, 0), candidate_labels="a,b")
    ]
    corrected = pipeline("zero-shot-image-classification", **shared, compat=False)
    assert sorted(each["label"] for each in corrected(picture(40, 30, 0), candidate_labels="a, b")) == ["a", "b"]


def test_20_sixteen_bits_are_cut_at_255():
    """A ramp of 16 bits is white but for its first pixel, of 0; corrected, it is a ramp of 8 bits."""
    ramp = Image.fromarray(np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64))
    white = Image.fromarray(np.minimum(np.asarray(ramp), 255).astype(np.uint8))
    grey = Image.fromarray(np.rint(np.asarray(ramp) / 257).astype(np.uint8))
    features = pipeline("image-feature-extraction", **parts("vit_features"), device="cpu")
    corrected = pipeline("image-feature-extraction", **parts("vit_features"), device="cpu", compat=False)
    assert features(ramp) == features(white) != features(grey)
    assert corrected(ramp) == features(grey)
