"""Drawn outputs against the postprocessing that needs torchvision: ``python -m tests.programs.torchvision_parity``.

``--cases N`` draws N cases a family (2,000). Prints one line per family: cases, how many differ, the first seed.
"""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from tests import torchvision_oracle

if __name__ == "__main__":
    torchvision_oracle.load()  # before transformers looks whether torchvision is there

import torch
import transformers

from afterlogits.adapters import install_postprocess
from afterlogits.benchmarks.answers import require_same
from afterlogits.postprocess import vision
from tests.postprocess.vision import drawn_detections, drawn_masks
from tests.programs.drawn_parity import Check, command


def check_rf_detr(seed: int) -> None:
    choose, logits, boxes, sizes, threshold = drawn_detections.draw_outputs(seed)
    top_k = choose.choice((None, 1, 5, 1000))
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    theirs = transformers.RfDetrImageProcessor().post_process_object_detection(outputs, threshold, sizes, top_k)
    options: dict[str, Any] = {"sizes": sizes, "threshold": threshold, "top_k": top_k, "as_float": False}
    drawn_detections.same_columns(vision.detect_sigmoid(logits, boxes, **options), theirs)


def check_merging(seed: int) -> None:
    """SAM and SAM2: filters of two runs, one mask of each object."""
    choose, generator = drawn_masks.draw(seed)
    name = choose.choice(("SamImageProcessor", "Sam2ImageProcessor"))
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


FAMILIES: dict[str, Check] = {
    "RF-DETR": check_rf_detr,
    "SAM and SAM2, filter and merging": check_merging,
    "ZoeDepth": check_zoe_depth,
    "OmDet-Turbo": check_text_classes,
}


if __name__ == "__main__":
    sys.exit(command(__doc__, FAMILIES))
