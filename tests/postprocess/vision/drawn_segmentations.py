"""Outputs of segmentation models drawn with regions, noise, ties and sizes of every form, one check per family."""

from __future__ import annotations

import copy
import random
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
import transformers

from afterlogits.adapters import install_postprocess
from afterlogits.benchmarks.answers import require_same
from afterlogits.postprocess import vision

VERSION_4 = transformers.__version__.startswith("4.")
ANTIALIAS = not VERSION_4 and transformers.utils.is_torchvision_available()


def draw(seed: int) -> tuple[random.Random, torch.Generator]:
    return random.Random(seed), torch.Generator().manual_seed(seed)


def draw_planes(choose: random.Random, generator: torch.Generator, shape: tuple[int, ...]) -> torch.Tensor:
    """Noise, smooth regions, or few values with many ties; now and then another dtype or layout."""
    planes = torch.randn(shape, generator=generator)
    if choose.random() < 0.7:
        low = torch.randn(*shape[:-2], 3, 3, generator=generator)
        planes = planes * choose.choice((0.0, 0.1, 1.0)) + 6 * F.interpolate(low, size=shape[-2:], mode="bicubic")
    if choose.random() < 0.3:
        planes = planes.round()
    if choose.random() < 0.05:
        planes = planes.to(choose.choice((torch.float64, torch.float16, torch.bfloat16)))
    if choose.random() < 0.05:
        planes = planes.contiguous(memory_format=torch.channels_last)
    return planes


def draw_sizes(choose: random.Random, batch: int, most: int = 160) -> list[tuple[int, int]] | None:
    if choose.random() < 0.15:
        return None
    return [(choose.randint(1, most), choose.randint(1, most)) for _ in range(batch)]


SEMANTIC = (
    "SegformerImageProcessor",
    "BeitImageProcessor",
    "DPTImageProcessor",
    "MobileViTImageProcessor",
    "MobileNetV2ImageProcessor",
)


def check_semantic(seed: int) -> None:
    choose, generator = draw(seed)
    shape = (choose.randint(1, 3), choose.randint(1, 14), choose.randint(1, 24), choose.randint(1, 24))
    logits = draw_planes(choose, generator, shape)
    if choose.random() < 0.03:
        logits[:, -1, 0, 0] = choose.choice((float("nan"), float("inf"), -float("inf")))
    sizes = draw_sizes(choose, shape[0])
    processor = getattr(transformers, choose.choice(SEMANTIC))()
    theirs = processor.post_process_semantic_segmentation(SimpleNamespace(logits=logits), sizes)
    require_same(vision.semantic_maps(logits, sizes=sizes), list(theirs))


def draw_queries(seed: int, *, few: bool = False) -> tuple[random.Random, torch.Tensor, torch.Tensor, Any]:
    """Class logits [B, Q, C + 1] of which some are certain, mask logits [B, Q, h, w], sizes."""
    choose, generator = draw(seed)
    batch, queries, classes = choose.randint(1, 2), choose.randint(1, 9), choose.randint(1, 5)
    class_logits = torch.randn(batch, queries, classes + 1, generator=generator) * choose.choice((0.5, 2.0, 6.0))
    if choose.random() < 0.2:
        class_logits = class_logits.round()
    masks = draw_planes(choose, generator, (batch, queries, choose.randint(1, 20), choose.randint(1, 20))).float()
    if choose.random() < 0.1 and queries > 1:
        masks[:, 1], class_logits[:, 1] = masks[:, 0], class_logits[:, 0]  # two queries for one thing
    return choose, class_logits, masks, draw_sizes(choose, batch)


def outputs_of(class_logits: torch.Tensor, masks: torch.Tensor) -> SimpleNamespace:
    """Under the names of both kinds of models."""
    return SimpleNamespace(
        logits=class_logits, pred_masks=masks, class_queries_logits=class_logits, masks_queries_logits=masks
    )


def check_semantic_queries(seed: int) -> None:
    choose, class_logits, masks, sizes = draw_queries(seed)
    name = choose.choice(("DetrImageProcessor", "MaskFormerImageProcessor", "ConditionalDetrImageProcessor"))
    theirs = getattr(transformers, name)().post_process_semantic_segmentation(outputs_of(class_logits, masks), sizes)
    # 4.57.6 leaves "no object" out for Conditional DETR as well.
    keep_last = name.startswith("Cond") and not VERSION_4
    planes = vision.class_planes(class_logits, masks, keep_last=keep_last)
    require_same(vision.semantic_maps(planes, sizes=sizes), list(theirs))


def check_semantic_mask2former(seed: int) -> None:
    _, class_logits, masks, sizes = draw_queries(seed)
    theirs = transformers.Mask2FormerImageProcessor().post_process_semantic_segmentation(
        outputs_of(class_logits, masks), sizes
    )
    planes = vision.class_planes(class_logits, masks, mask_size=(384, 384))
    require_same(vision.semantic_maps(planes, sizes=sizes), list(theirs))


PANOPTIC = (
    ("DetrImageProcessor", None),
    ("ConditionalDetrImageProcessor", None),
    ("MaskFormerImageProcessor", None),
    ("OneFormerImageProcessor", None),
    ("Mask2FormerImageProcessor", (384, 384)),
)


def draw_thresholds(choose: random.Random) -> dict[str, float]:
    return {
        "threshold": choose.choice((0.0, 0.1, 0.3, 0.5, 0.9)),
        "mask_threshold": choose.choice((0.0, 0.1, 0.3, 0.5)),
        "overlap_mask_area_threshold": choose.choice((0.0, 0.3, 0.8)),
    }


def processor_of(name: str) -> Any:
    if name != "OneFormerImageProcessor" or not VERSION_4:
        return getattr(transformers, name)()
    with (
        tempfile.TemporaryDirectory() as folder
    ):  # version 4 asks for a table of classes, which the segments do not need
        Path(folder, "classes.json").write_text("{}")
        return transformers.OneFormerImageProcessor(repo_path=folder, class_info_file="classes.json")


def same_info(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    """Equal segments; scores, which are rounded to six digits, may differ by one of the last."""
    for own, other in zip(ours, theirs, strict=True):
        require_same({**own, "score": 0}, {**other, "score": 0})
        assert abs(own["score"] - other["score"]) <= 1.01e-6, (own, other)


def same_segmentations(ours: list[vision.Segmentation], theirs: list[dict[str, Any]]) -> None:
    found = [segmentation.records() for segmentation in ours]
    for row, other in zip(found, theirs, strict=True):
        same_info(row["segments_info"], other["segments_info"])
    require_same([row["segmentation"] for row in found], [row["segmentation"] for row in theirs])
    for row, other in zip(found, theirs, strict=True):
        assert row["segmentation"].dtype == other["segmentation"].dtype


def ours_of(options: dict[str, float]) -> dict[str, float]:
    names = {"overlap_mask_area_threshold": "overlap_threshold"}
    return {names.get(name, name): value for name, value in options.items()}


def check_panoptic(seed: int) -> None:
    choose, class_logits, masks, sizes = draw_queries(seed)
    name, mask_size = choose.choice(PANOPTIC[:3] if sizes or VERSION_4 else PANOPTIC[:4])
    options, fuse = draw_thresholds(choose), set(choose.sample(range(6), choose.randint(0, 3)))
    theirs = processor_of(name).post_process_panoptic_segmentation(
        outputs_of(class_logits, masks), target_sizes=sizes, label_ids_to_fuse=fuse, **options
    )
    ours = vision.panoptic_maps(class_logits, masks, sizes=sizes, fuse=fuse, mask_size=mask_size, **ours_of(options))
    same_segmentations(ours, theirs)


def check_panoptic_mask2former(seed: int) -> None:
    choose, class_logits, masks, sizes = draw_queries(seed)
    options, fuse = draw_thresholds(choose), set(choose.sample(range(6), choose.randint(0, 3)))
    theirs = processor_of("Mask2FormerImageProcessor").post_process_panoptic_segmentation(
        outputs_of(class_logits, masks), target_sizes=sizes, label_ids_to_fuse=fuse, **options
    )
    ours = vision.panoptic_maps(class_logits, masks, sizes=sizes, fuse=fuse, mask_size=(384, 384), **ours_of(options))
    same_segmentations(ours, theirs)


def same_instances(seed: int, name: str, mask_size: tuple[int, int] | None) -> None:
    choose, class_logits, masks, sizes = draw_queries(seed)
    threshold = choose.choice((0.0, 0.1, 0.3, 0.5, 0.9))
    form = choose.choice(({}, {}, {"return_binary_maps": True}, {"return_coco_annotation": True}))
    theirs = processor_of(name).post_process_instance_segmentation(
        outputs_of(class_logits, masks), target_sizes=sizes, threshold=threshold, **form
    )
    ours = vision.instance_maps(class_logits, masks, sizes=sizes, threshold=threshold, mask_size=mask_size)
    found = [instances.segments.records() for instances in ours]
    for row, other in zip(found, theirs, strict=True):
        same_info(row["segments_info"], other["segments_info"])
    for instances, other in zip(ours, theirs, strict=True):
        shown = instances.segments.map
        if "return_coco_annotation" in form:
            require_same(vision.map_runs(shown)[1], other["segmentation"])
        elif "return_binary_maps" in form and len(instances.masks):
            require_same(instances.full_masks().float(), other["segmentation"])
        else:
            require_same(shown, other["segmentation"])
            assert shown.dtype == other["segmentation"].dtype


def check_instances(seed: int) -> None:
    same_instances(seed, "MaskFormerImageProcessor", None)


def check_instances_mask2former(seed: int) -> None:
    same_instances(seed, "Mask2FormerImageProcessor", (384, 384))


def check_instances_detr(seed: int) -> None:
    choose, class_logits, masks, sizes = draw_queries(seed)
    options = draw_thresholds(choose)
    runs = choose.random() < 0.3
    name = choose.choice(("DetrImageProcessor", "ConditionalDetrImageProcessor"))
    theirs = processor_of(name).post_process_instance_segmentation(
        outputs_of(class_logits, masks), target_sizes=sizes, return_coco_annotation=runs, **options
    )
    ours = vision.panoptic_maps(class_logits, masks, sizes=sizes, **ours_of(options))
    if not runs:
        same_segmentations(ours, theirs)
        return
    for own, other in zip(ours, theirs, strict=True):
        expected = other["segmentation"]
        require_same(vision.map_runs(own.map)[1] if len(own.ids) or isinstance(expected, list) else own.map, expected)


def check_eomt(seed: int) -> None:
    """Panoptic, instances and semantic maps of pictures in the corner of a square."""
    choose, class_logits, masks, sizes = draw_queries(seed)
    sizes = sizes or [(30, 50)] * len(class_logits)
    short, long = choose.choice(((32, 32), (48, 64), (200, 200), (150, 260)))
    size = {"shortest_edge": short, "longest_edge": long}
    options = draw_thresholds(choose)
    outputs = outputs_of(class_logits, masks)
    outputs.patch_offsets = None
    plain = transformers.EomtImageProcessor(size=size)
    known = install_postprocess(copy.copy(plain))
    stuff = choose.sample(range(6), choose.randint(0, 3))
    form = choose.choice(("panoptic", "panoptic", "instance", "instance", "semantic"))
    forms = {"panoptic": {**options, "stuff_classes": stuff}, "instance": {"threshold": options["threshold"]}}
    given = forms.get(form, {})
    name = f"post_process_{form}_segmentation"
    try:
        theirs = getattr(plain, name)(outputs, target_sizes=sizes, **given)
    except (
        RuntimeError
    ) as error:  # a side of the picture rounds to none of the square, where there is nothing to resize
        assert "sizes should be greater than 0" in str(error)
        return
    ours = getattr(known, name)(outputs, target_sizes=sizes, **given)
    if form == "semantic":
        require_same(ours, list(theirs))
        return
    for own, other in zip(ours, theirs, strict=True):
        same_info(own["segments_info"], other["segments_info"])
        require_same(own["segmentation"], other["segmentation"])
        assert own["segmentation"].dtype == other["segmentation"].dtype


def check_oneformer(seed: int) -> None:
    """Instances; with torchvision those of a target size too."""
    choose, class_logits, masks, sizes = draw_queries(seed)
    sizes = sizes if ANTIALIAS or VERSION_4 else None
    outputs, options = outputs_of(class_logits, masks), draw_thresholds(choose)
    form = choose.choice(("panoptic", "instance", "instance"))
    given = {**options, "target_sizes": sizes}
    if form == "panoptic":
        given["label_ids_to_fuse"] = set(choose.sample(range(6), choose.randint(0, 3)))
    else:
        given |= {"is_demo": choose.random() < 0.8, "return_coco_annotation": choose.random() < 0.2}
    plain = processor_of("OneFormerImageProcessor")
    plain.class_info_file = "classes.json"  # without one its instances cannot be had
    known = install_postprocess(copy.copy(plain))
    theirs, ours = (
        getattr(each, f"post_process_{form}_segmentation")(copy.deepcopy(outputs), **given) for each in (plain, known)
    )
    for own, other in zip(ours, theirs, strict=True):
        same_info(own["segments_info"], other["segments_info"])
        require_same(own["segmentation"], other["segmentation"])


CHECKS = {
    "OneFormer": check_oneformer,
    **({} if VERSION_4 else {"EoMT": check_eomt}),
    "semantic": check_semantic,
    "semantic of queries": check_semantic_queries,
    "semantic, Mask2Former": check_semantic_mask2former,
    "instances": check_instances,
    "instances, Mask2Former": check_instances_mask2former,
    "instances, DETR": check_instances_detr,
    "panoptic": check_panoptic,
    "panoptic, Mask2Former": check_panoptic_mask2former,
}
