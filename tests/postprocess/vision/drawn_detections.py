"""Detectors' outputs drawn with ties, thresholds on the border and sizes of every form, and one check per family.

Each ``check_*`` draws one case from a seed, asks transformers and us, and raises where the answers differ.
"""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import torch
import transformers

from afterlogits.benchmarks.answers import require_same
from afterlogits.postprocess import vision

THRESHOLDS = (0.0, 0.1, 0.3, 0.5, 0.9, -1.0)


def draw(seed: int) -> tuple[random.Random, torch.Generator]:
    return random.Random(seed), torch.Generator().manual_seed(seed)


def draw_logits(choose: random.Random, generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Normal logits of some width, or of a few values only, so that ties are common."""
    logits = torch.randn(shape, generator=generator) * choose.choice((0.1, 1.0, 4.0, 30.0)) + choose.choice((0, -2))
    if choose.random() < 0.3:
        logits = logits.round()
    return logits.to(torch.float64) if choose.random() < 0.05 else logits


def draw_sizes(choose: random.Random, batch: int) -> Any:
    """None, a list of tuples, or a tensor of (height, width)."""
    sizes = [(choose.randint(1, 1200), choose.randint(1, 1200)) for _ in range(batch)]
    return choose.choice((None, sizes, sizes, torch.tensor(sizes)))


def draw_outputs(seed: int, *, extra: int = 0) -> tuple[random.Random, torch.Tensor, torch.Tensor, Any, float]:
    """Logits [B, Q, C], boxes, sizes and a threshold, now and then one that a score equals."""
    choose, generator = draw(seed)
    batch, queries, classes = choose.randint(1, 4), choose.randint(1, 40), choose.randint(1, 12) + extra
    logits = draw_logits(choose, generator, (batch, queries, classes))
    boxes = torch.rand(batch, queries, 4, generator=generator) * choose.choice((1.0, 1.3)) - choose.choice((0, 0.1))
    threshold = choose.choice(THRESHOLDS)
    if choose.random() < 0.2:
        threshold = float(logits.sigmoid().flatten()[choose.randrange(logits.numel())])
    return choose, logits, boxes, draw_sizes(choose, batch), threshold


def same_columns(ours: vision.Detections, theirs: list[dict[str, Any]]) -> None:
    found = [{key: value for key, value in row.items() if key in ("scores", "labels", "boxes")} for row in theirs]
    mine = ours.per_image()
    require_same(mine, found)
    for own, other in zip(mine, found, strict=True):
        for key, value in own.items():
            assert value.dtype == other[key].dtype, (key, value.dtype, other[key].dtype)


def half(choose: random.Random, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Now and then in bfloat16 or float16."""
    dtype = choose.choice((None,) * 8 + (torch.bfloat16, torch.float16))
    return tensors if dtype is None else tuple(tensor.to(dtype) for tensor in tensors)


def check_softmax(seed: int, name: str = "DetrImageProcessor") -> None:
    choose, logits, boxes, sizes, threshold = draw_outputs(seed, extra=1)
    logits, boxes = half(choose, logits, boxes)
    processor = getattr(transformers, name)()
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    theirs = processor.post_process_object_detection(outputs, threshold, sizes)
    same_columns(vision.detect_softmax(logits, boxes, sizes=sizes, threshold=threshold), theirs)


def check_yolos(seed: int) -> None:
    check_softmax(seed, "YolosImageProcessor")


def check_deformable(seed: int, name: str = "DeformableDetrImageProcessor") -> None:
    choose, logits, boxes, sizes, threshold = draw_outputs(seed)
    logits, boxes = half(choose, logits, boxes)
    top_k = choose.choice((1, 5, 100, 1000))
    processor = getattr(transformers, name)()
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    theirs = processor.post_process_object_detection(outputs, threshold, sizes, top_k)
    same_columns(vision.detect_sigmoid(logits, boxes, sizes=sizes, threshold=threshold, top_k=top_k), theirs)


def check_conditional(seed: int) -> None:
    check_deformable(seed, "ConditionalDetrImageProcessor")


def check_rt_detr(seed: int) -> None:
    choose, logits, boxes, sizes, threshold = draw_outputs(seed)
    logits, boxes = half(choose, logits, boxes)
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    theirs = transformers.RTDetrImageProcessor().post_process_object_detection(outputs, threshold, sizes)
    options: dict[str, Any] = {"sizes": sizes, "threshold": threshold, "top_k": None, "as_float": False}
    same_columns(vision.detect_sigmoid(logits, boxes, **options), theirs)


def check_owl(seed: int, name: str = "OwlViTImageProcessor", square: bool = False) -> None:
    choose, logits, boxes, sizes, threshold = draw_outputs(seed)
    logits, boxes = half(choose, logits, boxes)
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes)
    theirs = getattr(transformers, name)().post_process_object_detection(outputs, threshold, sizes)
    ours = vision.detect_best_label(logits, boxes, sizes=sizes, threshold=threshold, square=square)
    same_columns(ours, theirs)


def check_owlv2(seed: int) -> None:
    check_owl(seed, "Owlv2ImageProcessor", True)


def check_grounding_dino(seed: int) -> None:
    check_owl(seed, "GroundingDinoImageProcessor")


def check_image_guided(seed: int, name: str = "OwlViTImageProcessor", square: bool = False) -> None:
    choose, logits, boxes, sizes, threshold = draw_outputs(seed)
    if choose.random() < 0.1:
        logits[0] = -200.0  # every score is 0: transformers leaves the image out
    sizes = torch.tensor(sizes) if isinstance(sizes, list) else sizes
    iou_threshold = choose.choice((0.0, 0.1, 0.3, 0.5, 1.0))
    outputs = SimpleNamespace(logits=logits, target_pred_boxes=boxes)
    processor = getattr(transformers, name)()
    theirs = processor.post_process_image_guided_detection(outputs, threshold, iou_threshold, sizes)
    options: dict[str, Any] = {"sizes": sizes, "threshold": threshold, "iou_threshold": iou_threshold}
    ours = vision.detect_image_guided(logits, boxes, square=square, **options).per_image()
    answered = vision.answered_images(logits).tolist()
    kept = [row for row, there in zip(ours, answered, strict=True) if there]
    columns = [{key: row[key] for key in ("scores", "boxes")} for row in theirs]
    require_same([{key: row[key] for key in ("scores", "boxes")} for row in kept], columns)


def check_image_guided_owlv2(seed: int) -> None:
    check_image_guided(seed, "Owlv2ImageProcessor", True)


class _Decoder:
    """Stands in for a Grounding DINO processor: its method decodes ids through ``batch_decode``."""

    def batch_decode(self, ids: list[list[int]]) -> list[list[int]]:
        return ids


def check_grounded(seed: int) -> None:
    from transformers.models.grounding_dino.processing_grounding_dino import GroundingDinoProcessor

    choose, logits, boxes, sizes, threshold = draw_outputs(seed, extra=3)
    text_threshold = choose.choice((0.1, 0.25, 0.5))
    length = choose.randint(1, logits.shape[2])
    logits[..., length:] = -torch.inf
    input_ids = torch.randint(0, 1000, (logits.shape[0], length))
    outputs = SimpleNamespace(logits=logits, pred_boxes=boxes, input_ids=input_ids)
    method = GroundingDinoProcessor.post_process_grounded_object_detection
    theirs = method(_Decoder(), outputs, input_ids, threshold, text_threshold, sizes)
    options: dict[str, Any] = {"sizes": sizes, "threshold": threshold, "text_threshold": text_threshold}
    if threshold < 0:
        return  # boxes without any token: transformers reads ids that are not there
    ours = vision.detect_grounded(logits, boxes, **options)
    require_same([row["scores"] for row in ours.detections.per_image()], [row["scores"] for row in theirs])
    require_same([row["boxes"] for row in ours.detections.per_image()], [row["boxes"] for row in theirs])
    require_same(ours.token_ids(input_ids), [ids for row in theirs for ids in row["text_labels"]])


def check_every_label(seed: int) -> None:
    """The zero-shot pipeline's own formatting, one run per label, with the model's outputs given."""
    from transformers.pipelines import zero_shot_object_detection as module

    choose, logits, boxes, _, threshold = draw_outputs(seed)
    logits, boxes = logits[:1].float(), boxes[:1]
    size = torch.tensor([[choose.randint(1, 900), choose.randint(1, 900)]])
    names = [f"label {i}" for i in range(logits.shape[2])]
    top_k = choose.choice((None, 0, 1, 3))
    stage = SimpleNamespace(image_processor=transformers.OwlViTImageProcessor())
    pipeline = module.ZeroShotObjectDetectionPipeline
    stage._get_bounding_box = lambda box: pipeline._get_bounding_box(SimpleNamespace(framework="pt"), box)
    runs = [
        {
            "candidate_label": name,
            "target_size": size,
            "logits": logits[..., i : i + 1].contiguous(),
            "pred_boxes": boxes,
        }
        for i, name in enumerate(names)
    ]
    theirs = pipeline.postprocess(stage, runs, threshold, top_k)
    ours = vision.detect_every_label(logits, boxes, sizes=size, threshold=threshold, top_k=top_k)
    require_same(ours.records(names), [theirs], rtol=1e-6)


CHECKS = {
    "DETR": check_softmax,
    "YOLOS": check_yolos,
    "Deformable DETR": check_deformable,
    "Conditional DETR": check_conditional,
    "RT-DETR": check_rt_detr,
    "OWL-ViT": check_owl,
    "OWLv2": check_owlv2,
    "Grounding DINO": check_grounding_dino,
    "OWL-ViT, image-guided": check_image_guided,
    "OWLv2, image-guided": check_image_guided_owlv2,
    "Grounding DINO, grounded": check_grounded,
    "zero-shot pipeline": check_every_label,
}
