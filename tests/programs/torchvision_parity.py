"""Drawn outputs against the postprocessing that needs torchvision: ``python -m tests.programs.torchvision_parity``.

``--cases N`` draws N cases a family (2,000). Prints one line per family: cases, how many differ, the first seed.
"""

from __future__ import annotations

import random
import sys
from types import SimpleNamespace
from typing import Any

from tests import torchvision_oracle

if __name__ == "__main__":
    torchvision_oracle.load()  # before transformers looks whether torchvision is there

import torch
import transformers

from afterlogits import pipeline
from afterlogits.adapters import install_postprocess, post_process
from afterlogits.benchmarks.answers import require_same
from afterlogits.postprocess import vision
from tests.builders import torchvision_models
from tests.builders.vision_models import parts, picture
from tests.postprocess.vision import drawn_detections, drawn_masks, drawn_segmentations
from tests.programs.drawn_parity import Check, command
from tests.programs.vision_pipeline_parity import equal


def check_rf_detr(seed: int) -> None:
    choose, logits, boxes, sizes, threshold = drawn_detections.draw_outputs(seed)
    top_k = choose.choice((None, 1, 5, 1000))
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    theirs = transformers.RfDetrImageProcessor().post_process_object_detection(outputs, threshold, sizes, top_k)
    options: dict[str, Any] = {"sizes": sizes, "threshold": threshold, "top_k": top_k, "as_float": False}
    drawn_detections.same_columns(vision.detect_sigmoid(logits, boxes, **options), theirs)


def check_rf_detr_instances(seed: int) -> None:
    choose, class_logits, masks, sizes = drawn_segmentations.draw_queries(seed)
    outputs = SimpleNamespace(logits=class_logits, pred_masks=masks)
    given = {
        "threshold": choose.choice((0.0, 0.3, 0.5, 0.9)),
        "mask_threshold": choose.choice((0.0, 0.5, -1.0)),
        "target_sizes": sizes,
        "top_k": choose.choice((None, None, 1, 4, 1000)),
        **choose.choice(({}, {}, {"return_coco_annotation": True}, {"return_binary_maps": True})),
    }
    plain, installed = transformers.RfDetrImageProcessor(), install_postprocess(transformers.RfDetrImageProcessor())
    theirs, ours = (each.post_process_instance_segmentation(outputs, **given) for each in (plain, installed))
    require_same(ours, theirs)


def check_pipelines(seed: int) -> None:
    """Whole calls of tiny RF-DETR, SAM2 and OneFormer models over a drawn picture."""
    choose = random.Random(seed)
    name = choose.choice([*PIPELINES])
    task, forms = PIPELINES[name]
    options = choose.choice(forms)
    shown = picture(choose.randint(20, 120), choose.randint(20, 120), seed)
    torchvision_models.register()
    built = parts(name)
    theirs, ours = (make(task, **built, device="cpu")(shown, **options) for make in (transformers.pipeline, pipeline))
    assert equal(theirs, ours, 1e-5), f"{name} {options}"
    if "masks" in theirs and len(theirs["masks"]):
        assert type(ours["masks"][0]) is type(theirs["masks"][0])


LOOSE = {"points_per_crop": 3, "points_per_batch": 9, "pred_iou_thresh": -10.0, "stability_score_thresh": 0.0}
PIPELINES: dict[str, Any] = {
    "rf_detr": ("object-detection", [{"threshold": 0.01}, {"threshold": 0.2}, {"threshold": 0.4}]),
    "rf_detr_instances": ("image-segmentation", [{"threshold": 0.1}, {"threshold": 0.4, "mask_threshold": 0.1}]),
    "sam2": (
        "mask-generation",
        [
            {**LOOSE, "output_rle_mask": True, "output_bboxes_mask": True},
            {**LOOSE, "stability_score_thresh": 0.5, "crops_n_layers": 1},
        ],
    ),
    "oneformer": (
        "image-segmentation",
        [
            {"subtask": "panoptic", "threshold": 0.1, "overlap_mask_area_threshold": 0.1},
            {"subtask": "instance", "threshold": 0.05, "mask_threshold": 0.1, "overlap_mask_area_threshold": 0.1},
            {"subtask": "semantic"},
            {"threshold": 0.1},
        ],
    ),
}


def check_merging(seed: int) -> None:
    """SAM, SAM2 and SAM3: filters of two runs, one mask of each object."""
    choose, generator = drawn_masks.draw(seed)
    name = choose.choice(("SamImageProcessor", "Sam2ImageProcessor", "Sam3ImageProcessor"))
    processor = getattr(transformers, name)()
    options = {"pred_iou_thresh": choose.choice((0.0, 0.3)), "stability_score_thresh": choose.choice((0.0, 0.5))}
    runs, parts = [], []
    box = torch.tensor([0.0, 0.0, 40.0, 50.0])
    for _ in range(2):
        masks = drawn_masks.draw_masks(choose, generator, (3, 3, 50, 40))
        scores = torch.rand(3, 3, generator=generator).mul(8).round().div(8)
        runs.append(processor.filter_masks(masks.clone(), scores, (50, 40), box, **options))
        parts.append(vision.filter_masks(masks, scores, image_size=(50, 40), crop_box=box, **options))
        drawn_masks.same_candidates(parts[-1], runs[-1])
    masks, scores, boxes = (list(column) for column in zip(*runs, strict=True))
    every = [record for part in masks for record in part]
    theirs = processor.post_process_for_mask_generation(every, torch.cat(scores), torch.cat(boxes), 0.7)
    ours = vision.merge_candidates(parts)
    record = ours.records(runs=True, boxes=True)
    require_same([torch.as_tensor(mask) for mask in record["masks"]], [torch.as_tensor(mask) for mask in theirs[0]])
    require_same([record["scores"], record["rle_mask"], record["bounding_boxes"]], [*theirs[1:]])


def check_zoe_depth(seed: int) -> None:
    choose, generator = drawn_masks.draw(seed)
    predicted = torch.randn(2, choose.randint(4, 40), choose.randint(4, 40), generator=generator)
    source = [(choose.randint(2, 60), choose.randint(2, 60)) for _ in range(2)]
    sizes = choose.choice((None, [(choose.randint(1, 60), choose.randint(1, 60)) for _ in range(2)]))
    flipped = choose.choice((None, SimpleNamespace(predicted_depth=torch.randn(predicted.shape, generator=generator))))
    remove = choose.choice((None, True, False))
    plain, installed = transformers.ZoeDepthImageProcessor(), install_postprocess(transformers.ZoeDepthImageProcessor())
    theirs, ours = (
        processor.post_process_depth_estimation(
            SimpleNamespace(predicted_depth=predicted), source, sizes, flipped, remove
        )
        for processor in (plain, installed)
    )
    require_same(ours, theirs)


def check_text_classes(seed: int) -> None:
    from transformers.models.omdet_turbo.processing_omdet_turbo import OmDetTurboProcessor

    choose, generator = drawn_detections.draw(seed)
    batch, queries, classes = choose.randint(1, 3), choose.randint(2, 25), choose.randint(1, 5)
    logits = torch.randn(batch, queries, classes, generator=generator) * 3
    boxes = torch.rand(batch, queries, 4, generator=generator)
    counts = torch.randint(1, classes + 1, (batch,), generator=generator)
    sizes = [(choose.randint(5, 900), choose.randint(5, 900)) for _ in range(batch)]
    threshold, overlap = choose.choice((0.0, 0.3, 0.6)), choose.choice((0.1, 0.5, 0.9))
    outputs = SimpleNamespace(decoder_coord_logits=boxes, decoder_class_logits=logits, classes_structure=counts)
    method = OmDetTurboProcessor.post_process_grounded_object_detection
    theirs = method(None, outputs, None, threshold, overlap, sizes)
    options: dict[str, Any] = {"sizes": sizes, "threshold": threshold, "iou_threshold": overlap}
    ours = vision.detect_text_classes(logits, boxes, counts, **options)
    drawn_detections.same_columns(ours, theirs)
    processor = OmDetTurboProcessor.__new__(OmDetTurboProcessor)
    texts = [[f"thing {number}" for number in range(classes)] for _ in range(batch)]
    given: dict[str, Any] = {
        "text_labels": texts,
        "threshold": threshold,
        "nms_threshold": overlap,
        "target_sizes": sizes,
    }
    theirs = method(None, outputs, **given)
    require_same(post_process(outputs, processor, "grounded_object_detection", **given), theirs)


def check_depth_pro(seed: int) -> None:
    choose, generator = drawn_masks.draw(seed)
    predicted = torch.rand(2, choose.randint(2, 30), choose.randint(2, 30), generator=generator)
    angles = choose.choice((None, torch.rand(2, generator=generator) * 90 + 10))
    sizes = choose.choice((None, [(choose.randint(2, 60), choose.randint(2, 60)) for _ in range(2)]))
    outputs = SimpleNamespace(predicted_depth=predicted, field_of_view=angles)
    plain = transformers.DepthProImageProcessor(resample=choose.choice((0, 2, 3)))
    theirs = plain.post_process_depth_estimation(outputs, sizes)
    require_same(post_process(outputs, plain, "depth_estimation", target_sizes=sizes), theirs)


def check_tips(seed: int) -> None:
    choose, generator = drawn_segmentations.draw(seed)
    logits = drawn_segmentations.draw_planes(choose, generator, (2, choose.randint(1, 9), 12, 14))
    outputs = SimpleNamespace(**{choose.choice(("logits", "segmentation_logits")): logits})
    sizes, plain = drawn_segmentations.draw_sizes(choose, 2), transformers.Tipsv2DptImageProcessor()
    theirs = plain.post_process_semantic_segmentation(outputs, sizes)
    require_same(post_process(outputs, plain, "semantic_segmentation", target_sizes=sizes), list(theirs))


FAMILIES: dict[str, Check] = {
    "RF-DETR": check_rf_detr,
    "RF-DETR, instances": check_rf_detr_instances,
    "OneFormer": drawn_segmentations.check_oneformer,
    "whole calls": check_pipelines,
    "SAM, SAM2 and SAM3, filter and merging": check_merging,
    "ZoeDepth": check_zoe_depth,
    "OmDet-Turbo": check_text_classes,
    "DepthPro": check_depth_pro,
    "TIPSv2": check_tips,
}


if __name__ == "__main__":
    sys.exit(command(__doc__, FAMILIES))
