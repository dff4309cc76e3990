"""Which kernel answers for an image processor: told by the class that defines its method, not by the model's name."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from inspect import signature
from typing import Any

import torch
import transformers
from torch import Tensor

from ....postprocess.transfers import received
from ....postprocess.vision.depth import depth_maps, unpadded_depth_maps
from ....postprocess.vision.detection import detect_best_label, detect_sigmoid, detect_softmax
from ....postprocess.vision.detections import Detections
from ....postprocess.vision.instances import instance_maps
from ....postprocess.vision.keypoints import Matches, detect_keypoints, match_both_ways, match_keypoints
from ....postprocess.vision.panoptic import panoptic_maps
from ....postprocess.vision.pose import decode_poses
from ....postprocess.vision.segments import QuerySegments, segmentations
from ....postprocess.vision.semantic import class_planes, semantic_maps
from ...running.reading import Reads
from ...running.tokenising import checked, take_logits
from . import segment_rules

# 4.57 leaves "no object" out for Conditional DETR as well, and drops axes of length 1 of GLPN's maps.
VERSION_4 = transformers.__version__.startswith("4.")
_SUFFIX = re.compile(r"(ImageProcessor|FeatureExtractor|Processor)(Pil|Fast)?$")

# The rule of each family; its options are those of ``post_process_object_detection`` where the pipeline calls it.
DETECTORS: Mapping[str, Callable[..., Detections]] = {
    "Detr": detect_softmax,
    "Yolos": detect_softmax,
    "ConditionalDetr": detect_sigmoid,
    "DeformableDetr": detect_sigmoid,
    "RTDetr": partial(detect_sigmoid, top_k=None, as_float=False),
    "RfDetr": partial(detect_sigmoid, top_k=None, as_float=False),
    "OwlViT": detect_best_label,
    "Owlv2": partial(detect_best_label, square=True),
    "GroundingDino": detect_best_label,
}


# Families whose logits are a plane a class, and those that give masks and the class of each: by what they differ.
PLANES = frozenset({"Beit", "CHMv2", "DPT", "Sapiens2", "Segformer", "MobileNetV2", "MobileViT", "Tipsv2Dpt"})
QUERIES: Mapping[str, Mapping[str, Any]] = {
    "Detr": {},
    "ConditionalDetr": {"keep_last": not VERSION_4},
    "MaskFormer": {},
    "OneFormer": {},
    "Mask2Former": {"mask_size": (384, 384)},
}


def family_of(processor: Any, method: str) -> str | None:
    """The family whose class defines ``method``: "Detr" for a YOLOS processor that inherits DETR's. None: no method."""
    kind: Any = type(processor)
    return _family(kind, method)


@cache
def _family(kind: Any, method: str) -> str | None:
    for each in kind.__mro__:
        if method in vars(each) and "_afterlogits_plain" not in vars(each):
            return _SUFFIX.sub("", each.__name__)
    return None


def on_torchvision(processor: Any) -> bool:
    """Whether it is one of transformers' image processors that return tensors where those on Pillow return arrays."""
    return any(kind.__name__ == "TorchvisionBackend" for kind in type(processor).__mro__)


def has(processor: Any, method: str) -> bool:
    return callable(getattr(processor, method, None))


def detect(
    processor: Any,
    outputs: Any,
    *,
    sizes: Tensor,
    threshold: float,
    label_thresholds: Tensor | None = None,
    check: bool = False,
) -> Reads[Detections]:
    """The detections of a batch by the processor's family, or by its own method where the family is not known here.

    outputs: the model's, with ``logits`` and ``pred_boxes``, which are read by the host in one copy. sizes: [B, 2] int,
    height and width. check: refuse logits that hold NaN.
    """
    rule = DETECTORS.get(family_of(processor, "post_process_object_detection") or "")
    if rule is not None:
        logits, boxes = yield [outputs["logits"], outputs["pred_boxes"]]
        if check:
            checked(logits)
        return rule(logits, boxes, sizes=sizes, threshold=threshold, label_thresholds=label_thresholds)
    if check:
        yield from take_logits(outputs)
    lowest = threshold if label_thresholds is None else float(label_thresholds.min())
    own = processor.post_process_object_detection(outputs, threshold=lowest, target_sizes=sizes)
    found = of_images(own)
    if label_thresholds is None:
        return found
    return found.select(found.scores > label_thresholds.to(found.scores)[found.labels])


def segment_classes(processor: Any, outputs: Any, sizes: list[tuple[int, int]]) -> list[Tensor]:
    """The class of every pixel of each picture, [H, W] int64, as ``post_process_semantic_segmentation``."""
    family = family_of(processor, "post_process_semantic_segmentation") or ""
    if family in PLANES:
        return semantic_maps(_by_planes(outputs["logits"]), sizes=sizes)
    if family in QUERIES:
        classes, masks = query_logits(outputs)
        return semantic_maps(class_planes(classes, masks, **QUERIES[family]), sizes=sizes)
    found: list[Tensor] = processor.post_process_semantic_segmentation(outputs, target_sizes=sizes)
    return found


def query_logits(outputs: Any) -> tuple[Tensor, Tensor]:
    """Logits of classes [B, Q, C + 1] and of masks [B, Q, h, w], by the names of DETR or of MaskFormer."""
    if "class_queries_logits" in outputs:
        return outputs["class_queries_logits"], _by_planes(outputs["masks_queries_logits"])
    return outputs["logits"], _by_planes(outputs["pred_masks"])


def _by_planes(maps: Tensor) -> Tensor:
    """[B, C, h, w] with a plane after the other, as a picture alone gives them: convolutions of a batch leave channels
    last, of which torch resizes each eight with other last bits, and of which no kernel here can take some."""
    return maps.contiguous() if maps.device.type == "cpu" else maps


def segment_objects(
    processor: Any,
    subtask: str,
    outputs: Any,
    sizes: list[tuple[int, int]],
    *,
    threshold: float,
    mask_threshold: float,
    overlap_mask_area_threshold: float,
    compat: bool = True,
) -> Reads[list[tuple[Tensor, list[dict[str, Any]]]]]:
    """The map of ids, int16, and the segments of each picture, as ``post_process_{subtask}_segmentation``."""
    method = f"post_process_{subtask}_segmentation"
    family = family_of(processor, method) or ""
    thresholds: dict[str, Any] = {
        "threshold": threshold,
        "mask_threshold": mask_threshold,
        "overlap_threshold": overlap_mask_area_threshold,
    }
    if (subtask == "panoptic" and family in QUERIES) or family in ("Detr", "ConditionalDetr"):
        smooth = family == "OneFormer" and segment_rules.ANTIALIAS
        size = QUERIES[family].get("mask_size")
        classes, masks = query_logits(outputs)
        found = panoptic_maps(
            classes, masks, sizes=sizes, mask_size=size, antialias=smooth, compat=compat, **thresholds
        ).queries
    elif family in ("MaskFormer", "Mask2Former"):
        classes, masks = query_logits(outputs)
        size = QUERIES[family].get("mask_size")
        instances = instance_maps(classes, masks, sizes=sizes, threshold=threshold, mask_size=size, compat=compat)
        found = [each.segments for each in instances.queries]
    elif family == "OneFormer":
        found = segment_rules.oneformer_instances(outputs, sizes, compat=compat, **thresholds).queries
    elif family == "Eomt" and subtask == "panoptic":
        found = segment_rules.eomt_panoptic(processor, outputs, sizes, **thresholds).queries
    elif family == "Eomt":
        found = segment_rules.eomt_instances(processor, outputs, sizes, threshold=threshold).queries
    elif family == "RfDetr":
        found = segment_rules.rf_detr_instances(
            outputs, sizes, threshold=threshold, mask_threshold=mask_threshold
        ).queries
    else:
        own = getattr(processor, method)
        taken = signature(own).parameters
        given = {**thresholds, "overlap_mask_area_threshold": overlap_mask_area_threshold}
        plain = own(outputs, target_sizes=sizes, **{name: value for name, value in given.items() if name in taken})
        maps = yield [each["segmentation"].short() for each in plain]
        return [(own_map, each["segments_info"]) for own_map, each in zip(maps, plain, strict=True)]
    return (yield from _on_host(found))


def _on_host(found: Sequence[QuerySegments]) -> Reads[list[tuple[Tensor, list[dict[str, Any]]]]]:
    """The maps, int16, and the segments as transformers lists them."""
    if all(each.map.device.type == "cpu" for each in found):  # nothing has to be asked for
        return [(each.map.short(), each.records()["segments_info"]) for each in segmentations(found)]
    return (yield from _brought(found))


def _brought(found: Sequence[QuerySegments]) -> Reads[list[tuple[Tensor, list[dict[str, Any]]]]]:
    """The same from a device."""
    read = yield from _read(found)
    counts = [0 if each.kept is None else int(each.kept) for each in read]
    left = [place for place, each in enumerate(read) if counts[place] > len(each.shown)]
    if left:  # more queries are kept than there were slots for
        others = yield from _read([found[place].settled(counts[place]) for place in left])
        for place, other in zip(left, others, strict=True):
            read[place] = other
    records = [each.records() for each in segmentations([replace(each, kept=None) for each in read])]
    return [(each["segmentation"], each["segments_info"]) for each in records]


def _read(found: Sequence[QuerySegments]) -> Reads[list[QuerySegments]]:
    """The same on the host, their maps as int16."""
    parts = [replace(each, map=each.map.short(), otherwise=None).tensors() for each in found]
    held = iter((yield [value for part in parts for value in part.values()]))
    read: list[dict[str, Any]] = [{name: next(held) for name in part} for part in parts]
    return [QuerySegments(**own) for own in read]


def depth_of(processor: Any, outputs: Any, sizes: list[tuple[int, int]], *, compat: bool = True) -> list[Tensor]:
    """The depth of each picture at its size, as ``post_process_depth_estimation`` where the pipeline calls it."""
    family = family_of(processor, "post_process_depth_estimation")
    if family in ("DPT", "PromptDepthAnything", "GLPN"):
        return depth_maps(outputs["predicted_depth"], sizes=sizes, compat=compat and (VERSION_4 or family != "GLPN"))
    if family == "ZoeDepth":
        padded = bool(getattr(processor, "do_pad", True))
        return unpadded_depth_maps(outputs["predicted_depth"], source_sizes=sizes, remove_padding=padded)
    found = processor.post_process_depth_estimation(outputs, sizes)
    return [each["predicted_depth"] for each in found]


def to_pixels(values: Tensor) -> Tensor:
    """[B, C, H, W] floats as pixels [B, H, W, C] uint8: 0 to 1 becomes 0 to 255, what is beyond is cut."""
    return (values.float().clamp(0, 1) * 255.0).round().to(torch.uint8).movedim(1, -1).contiguous()


def match_points(processor: Any, outputs: Any, *, sizes: Tensor, threshold: float) -> Reads[Matches]:
    """The matches of each pair, as ``post_process_keypoint_matching``. sizes: [B, 2, 2], height and width of both."""
    family = family_of(processor, "post_process_keypoint_matching")
    if family == "EfficientLoFTR":
        columns = yield [outputs[name] for name in ("keypoints", "matches", "matching_scores")]
        return match_both_ways(*columns, sizes=sizes, threshold=threshold)
    if family in ("SuperGlue", "LightGlue"):
        named = ("keypoints", "matches", "matching_scores", "mask")
        points, matched, chances, mask = yield [outputs[name] for name in named]
        return match_keypoints(points, matched[:, 0], chances[:, 0], sizes=sizes, mask=mask, threshold=threshold)
    found = processor.post_process_keypoint_matching(outputs, target_sizes=sizes, threshold=threshold)
    names = ("keypoints0", "keypoints1", "matching_scores")
    first, second, scores = (torch.cat([each[name].cpu() for each in found]) for name in names)
    counts = torch.tensor([len(each["matching_scores"]) for each in found], device="cpu")
    return Matches(first, second, scores, torch.arange(len(found), device="cpu").repeat_interleave(counts), len(found))


def find_points(outputs: Any, sizes: Tensor) -> Reads[list[dict[str, Tensor]]]:
    """The points of each picture, as ``post_process_keypoint_detection``. sizes: [B, 2] int, height and width."""
    columns = yield [outputs[name] for name in ("keypoints", "scores", "descriptors", "mask")]
    return detect_keypoints(*columns, sizes=sizes).per_image()


def find_poses(
    processor: Any,
    heatmaps: Tensor,
    people: list[list[list[float]]],
    *,
    kernel_size: int,
    threshold: float | None,
    compat: bool = True,
) -> list[list[dict[str, Tensor]]]:
    """The points of each person of each picture, as ``post_process_pose_estimation``.

    heatmaps: [N, K, h, w]. people: the boxes of each picture, COCO, N in all.
    """
    found = decode_poses(
        heatmaps,
        torch.tensor([box for boxes in people for box in boxes], dtype=torch.float64, device="cpu").reshape(-1, 4),
        input_size=(processor.size["height"], processor.size["width"]),
        kernel_size=kernel_size,
        compat=compat,
    )
    return found.records([len(boxes) for boxes in people], threshold=threshold)


def of_images(found: list[dict[str, Tensor]]) -> Detections:
    """The tensors that a processor's own method returns for each image, as columns of the batch on the host."""
    counts = [len(each["scores"]) for each in found]
    image = torch.repeat_interleave(
        torch.arange(len(found), device="cpu"), torch.tensor(counts, dtype=torch.long, device="cpu")
    )
    columns = [
        torch.cat([each[name] for each in found]) if found else torch.zeros(0, device="cpu")
        for name in ("scores", "labels", "boxes")
    ]
    place = (
        torch.cat([torch.arange(count, device="cpu") for count in counts])
        if found
        else torch.zeros(0, dtype=torch.long, device="cpu")
    )
    scores, labels, boxes = received(*columns)
    return Detections(scores, labels, boxes, image, place, len(found))
