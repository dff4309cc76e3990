"""Installed image processors give what plain ones give, for every method and family that the kernels know."""

import copy
import pickle
from types import SimpleNamespace

import pytest
import torch
import transformers

from afterlogits.adapters import install_postprocess, post_process, uninstall_postprocess
from afterlogits.adapters.tasks.vision import families
from afterlogits.benchmarks.answers import require_same
from afterlogits.postprocess import vision
from tests.builders.versions import V4
from tests.postprocess.vision import drawn_detections, drawn_masks, drawn_points, drawn_segmentations

SEEDS = range(8)


def detection(seed, *, extra=0):
    _, logits, boxes, sizes, threshold = drawn_detections.draw_outputs(seed, extra=extra)
    return SimpleNamespace(logits=logits, pred_boxes=boxes), {"threshold": threshold, "target_sizes": sizes}


def softmax_detection(seed):
    return detection(seed, extra=1)


def image_guided(seed):
    outputs, options = detection(seed)
    sizes = options["target_sizes"]
    options["target_sizes"] = torch.tensor(sizes) if isinstance(sizes, list) else sizes
    return SimpleNamespace(logits=outputs.logits, target_pred_boxes=outputs.pred_boxes), options


def planes(seed):
    choose, generator = drawn_segmentations.draw(seed)
    logits = drawn_segmentations.draw_planes(choose, generator, (2, 5, 12, 14))
    return SimpleNamespace(logits=logits), {
        "target_sizes": drawn_segmentations.draw_sizes(choose, 2),
        "return_segmentation_scores": seed == 3,
    }


def queries(seed):
    _, classes, masks, sizes = drawn_segmentations.draw_queries(seed)
    return drawn_segmentations.outputs_of(classes, masks), {"target_sizes": sizes}


def segments(seed):
    outputs, options = queries(seed)
    return outputs, options | {"threshold": 0.3, "mask_threshold": 0.2, "overlap_mask_area_threshold": 0.1}


def panoptic(seed):
    outputs, options = segments(seed)
    return outputs, options | {"label_ids_to_fuse": {0, 1}}


def runs(seed):
    outputs, options = segments(seed)
    return outputs, options | {"return_coco_annotation": True}


def binary_maps(seed):
    outputs, options = segments(seed)
    return outputs, options | {"return_binary_maps": True}


def depth(seed):
    choose, generator = drawn_points.draw(seed)
    sizes = choose.choice((None, [(choose.randint(1, 40), choose.randint(1, 40)) for _ in range(2)]))
    return SimpleNamespace(predicted_depth=torch.randn(2, 9, 11, generator=generator)), {"target_sizes": sizes}


def matching(seed):
    _, generator = drawn_points.draw(seed)
    mask = (torch.rand(2, 2, 9, generator=generator) < 0.8).int()
    matches = torch.randint(-1, 9, (2, 2, 9), generator=generator)
    outputs = SimpleNamespace(
        keypoints=torch.rand(2, 2, 9, 2, generator=generator),
        mask=mask,
        matches=matches,
        matching_scores=torch.rand(2, 2, 9, generator=generator),
    )
    return outputs, {"target_sizes": [[(20, 30), (40, 50)]] * 2, "threshold": 0.3}


def keypoints(seed):
    outputs, _ = matching(seed)
    found = SimpleNamespace(
        keypoints=outputs.keypoints[:, 0],
        mask=outputs.mask[:, 0],
        scores=outputs.matching_scores[:, 0],
        descriptors=torch.rand(2, 9, 4),
    )
    return found, {"target_sizes": [(20, 30), (40, 50)]}


def pose(seed):
    choose, generator = drawn_points.draw(seed)
    heatmaps = drawn_points.draw_heatmaps(choose, generator, 3, 4)
    boxes = [[[1.0, 2.0, 30.0, 40.0], [5, 6, 70, 20]], [[0.0, 0.0, 10.0, 10.0]]]
    options = {"boxes": boxes, "threshold": choose.choice((None, 0.3))}
    return SimpleNamespace(heatmaps=heatmaps), options


KNOWN = [
    ("DetrImageProcessor", "object_detection", softmax_detection),
    ("YolosImageProcessor", "object_detection", softmax_detection),
    ("ConditionalDetrImageProcessor", "object_detection", detection),
    ("DeformableDetrImageProcessor", "object_detection", detection),
    ("RTDetrImageProcessor", "object_detection", detection),
    ("OwlViTImageProcessor", "object_detection", detection),
    ("Owlv2ImageProcessor", "object_detection", detection),
    ("GroundingDinoImageProcessor", "object_detection", detection),
    ("OwlViTImageProcessor", "image_guided_detection", image_guided),
    ("Owlv2ImageProcessor", "image_guided_detection", image_guided),
    ("SegformerImageProcessor", "semantic_segmentation", planes),
    ("BeitImageProcessor", "semantic_segmentation", planes),
    ("DPTImageProcessor", "semantic_segmentation", planes),
    ("MobileViTImageProcessor", "semantic_segmentation", planes),
    ("MobileNetV2ImageProcessor", "semantic_segmentation", planes),
    ("DetrImageProcessor", "semantic_segmentation", queries),
    ("ConditionalDetrImageProcessor", "semantic_segmentation", queries),
    ("MaskFormerImageProcessor", "semantic_segmentation", queries),
    ("Mask2FormerImageProcessor", "semantic_segmentation", queries),
    ("DetrImageProcessor", "panoptic_segmentation", panoptic),
    ("ConditionalDetrImageProcessor", "panoptic_segmentation", panoptic),
    ("MaskFormerImageProcessor", "panoptic_segmentation", panoptic),
    ("Mask2FormerImageProcessor", "panoptic_segmentation", panoptic),
    ("DetrImageProcessor", "instance_segmentation", segments),
    ("DetrImageProcessor", "instance_segmentation", runs),
    ("MaskFormerImageProcessor", "instance_segmentation", segments),
    ("MaskFormerImageProcessor", "instance_segmentation", runs),
    ("Mask2FormerImageProcessor", "instance_segmentation", binary_maps),
    ("DPTImageProcessor", "depth_estimation", depth),
    ("GLPNImageProcessor", "depth_estimation", depth),
    ("SuperGlueImageProcessor", "keypoint_matching", matching),
    ("LightGlueImageProcessor", "keypoint_matching", matching),
    ("SuperPointImageProcessor", "keypoint_detection", keypoints),
    ("VitPoseImageProcessor", "pose_estimation", pose),
]


def listed(result):
    """A method's result with its dict-like parts as plain dicts."""
    if hasattr(result, "items"):
        return {key: listed(value) for key, value in result.items() if value is not None}
    return [listed(value) for value in result] if isinstance(result, (list, tuple)) else result


@pytest.mark.parametrize(("name", "method", "drawn"), KNOWN, ids=[f"{n[:-14]}-{m}-{d.__name__}" for n, m, d in KNOWN])
def test_an_installed_processor_returns_the_same(name, method, drawn):
    if V4 and method in ("semantic_segmentation", "keypoint_matching"):
        pytest.skip("4.57.6 has no scores of a semantic map, and takes a point it does not have for a match")
    plain, installed = getattr(transformers, name)(), install_postprocess(getattr(transformers, name)())
    for seed in SEEDS:
        outputs, options = drawn(seed)
        expected = listed(getattr(plain, f"post_process_{method}")(copy.deepcopy(outputs), **options))
        require_same(listed(getattr(installed, f"post_process_{method}")(outputs, **options)), expected, rtol=2e-6)
        require_same(listed(post_process(outputs, plain, method, **options)), expected, rtol=2e-6)


def test_rt_detr_without_focal_loss_takes_a_softmax_over_the_batch():
    """With one image every score is 1 and every label 0."""
    logits, boxes = torch.tensor([[[1.0, 0, 0], [0, 3, 0]]]), torch.rand(1, 2, 4)
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    processor = transformers.RTDetrImageProcessor()
    with pytest.warns(UserWarning, match="Implicit dimension choice for softmax"):
        found = post_process(outputs, processor, "object_detection", use_focal_loss=False)[0]
    assert found["scores"].tolist() == [1.0, 1.0] and found["labels"].tolist() == [0, 0]


def sam():
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    return SamImageProcessorPil(pad_size={"height": 64, "width": 64})


@pytest.mark.skipif(V4, reason="4.57.6 has no processor of SAM without torchvision")
def test_sam_filters_and_merges_without_torchvision():
    plain, installed = sam(), install_postprocess(sam())
    for seed in SEEDS:
        choose, generator = drawn_masks.draw(seed)
        masks = drawn_masks.draw_masks(choose, generator, (3, 3, 16, 16))
        scores = torch.rand(3, 3, generator=generator)
        for binarize in (True, False):
            options = {"original_sizes": [(50, 40)], "reshaped_input_sizes": [(64, 51)], "binarize": binarize}
            full = [p.post_process_masks([masks.clone()], **options)[0] for p in (plain, installed)]
            require_same(full[1], full[0])
        options = {"pred_iou_thresh": 0.3, "stability_score_thresh": 0.5}
        box = torch.tensor([0.0, 0, 40, 50])
        theirs, ours = (p.filter_masks(full[0], scores, (50, 40), box, **options) for p in (plain, installed))
        require_same(listed(ours), listed(theirs))
        found = installed.post_process_for_mask_generation(*ours, 0.7)
        assert len(found[0]) == len(found[1]) == len(found[2]) == len(found[3])
        assert [int(mask.sum()) for mask in found[0]] == [sum(record["counts"][1::2]) for record in found[2]]


def test_installing_leaves_the_processor_what_it_was(tmp_path):
    processor = install_postprocess(transformers.DetrImageProcessor())
    kind = type(transformers.DetrImageProcessor())
    assert isinstance(processor, kind) and type(processor).__name__ == kind.__name__
    assert install_postprocess(processor) is processor
    processor.save_pretrained(tmp_path)
    assert type(kind.from_pretrained(tmp_path)) is kind
    assert type(pickle.loads(pickle.dumps(processor))) is kind
    assert isinstance(copy.deepcopy(processor), kind) and copy.copy(processor).size == processor.size
    assert processor.to_dict() == kind().to_dict()
    assert type(uninstall_postprocess(processor)) is kind
    assert uninstall_postprocess(processor) is processor


def test_a_processor_without_known_methods_is_refused():
    with pytest.raises(TypeError, match="processor must have a post_process method that is known here; got ViT"):
        install_postprocess(transformers.ViTImageProcessor())
    with pytest.raises(AttributeError, match="post_process_object_detection"):
        post_process(None, transformers.ViTImageProcessor(), "object_detection")


def test_maps_of_a_batch_reach_the_kernel_plane_after_plane(monkeypatch):
    """Channels last, as convolutions of a batch leave them, no kernel can take some planes alone."""
    reached = []

    def semantic_maps(planes, **options):
        reached.append(planes.is_contiguous())
        return vision.semantic_maps(planes, **options)

    monkeypatch.setattr(families, "semantic_maps", semantic_maps)
    logits = torch.randn(2, 5, 8, 9).contiguous(memory_format=torch.channels_last)
    sizes = [(70, 80), (20, 130)]
    found = families.segment_classes(transformers.SegformerImageProcessor(), {"logits": logits}, sizes)
    assert reached == [True]
    require_same(found, vision.semantic_maps(logits.contiguous(), sizes=sizes))
