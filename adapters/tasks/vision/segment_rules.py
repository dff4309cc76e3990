"""Segments of OneFormer, EoMT and RF-DETR: what their processors' methods ask of the kernels, and their results."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import transformers

from ....postprocess import vision
from ....postprocess.vision.segments import Segmentation, Segmentations

Arguments = Mapping[str, Any]
Sizes = Sequence[tuple[int, int]]
# torchvision resizes the masks of 5.23's OneFormer, and smooths those that shrink.
ANTIALIAS = not transformers.__version__.startswith("4.")


def oneformer_instances(outputs: Any, sizes: Sizes | None, **options: Any) -> Segmentations:
    """Options as `vision.pair_maps` names them."""
    classes, masks = outputs.class_queries_logits, outputs.masks_queries_logits
    return vision.pair_maps(classes, masks, sizes=sizes, antialias=ANTIALIAS, **options)


def eomt_panoptic(
    processor: Any, outputs: Any, sizes: Sizes, *, size: Any = None, fuse: Collection[int] = (), **thresholds: Any
) -> Segmentations:
    """Thresholds as `vision.letterboxed_panoptic_maps` names them. size: what the processor resized to, if not its
    own."""
    classes, masks = outputs.class_queries_logits, outputs.masks_queries_logits
    seen = _letterbox(size or processor.size, sizes)
    return vision.letterboxed_panoptic_maps(classes, masks, sizes=sizes, fuse=fuse, **seen, **thresholds)


def eomt_instances(processor: Any, outputs: Any, sizes: Sizes, *, threshold: float, size: Any = None) -> Segmentations:
    classes, masks = outputs.class_queries_logits, outputs.masks_queries_logits
    seen = _letterbox(size or processor.size, sizes)
    return vision.letterboxed_instance_maps(classes, masks, sizes=sizes, threshold=threshold, **seen)


def _letterbox(size: Any, sizes: Sizes) -> dict[str, Any]:
    """The square that EoMT saw, and the part of it that shows each picture."""
    from transformers.image_transforms import get_size_with_aspect_ratio

    short, long = size["shortest_edge"], size["longest_edge"]
    shown = [get_size_with_aspect_ratio(each, short, long) for each in sizes]
    return {"square": (short, long or short), "shown": shown}


def rf_detr_instances(outputs: Any, sizes: Sizes | None, **options: Any) -> Segmentations:
    """Options as `vision.ranked_maps` names them."""
    return vision.ranked_maps(outputs.logits, outputs.pred_masks, sizes=sizes, **options)


def _records(found: Sequence[Segmentation], runs: Sequence[bool] = ()) -> list[dict[str, Any]]:
    """runs: of which images the map comes as run lengths. Those in which no query was kept never do, there too."""
    records = [each.records() for each in found]
    for record, asked in zip(records, runs, strict=bool(runs)):
        if asked:
            record["segmentation"] = vision.map_runs(record["segmentation"])[1]
    return records


def oneformer_panoptic_method(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    outputs = given["outputs"]
    found = vision.panoptic_maps(
        outputs.class_queries_logits,
        outputs.masks_queries_logits,
        sizes=given["target_sizes"],
        threshold=given["threshold"],
        mask_threshold=given["mask_threshold"],
        overlap_threshold=given["overlap_mask_area_threshold"],
        fuse=given["label_ids_to_fuse"] or (),
        antialias=ANTIALIAS,
    )
    return _records(found)


def oneformer_instance_method(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    named = not given["is_demo"] and "ade20k" in (processor.class_info_file or "")
    if named or given["task_type"] == "panoptic":
        return plain(**given)  # the classes that count are told by the processor's own table
    found = oneformer_instances(
        given["outputs"],
        given["target_sizes"],
        threshold=given["threshold"] if given["is_demo"] else None,
        mask_threshold=given["mask_threshold"],
        overlap_threshold=given["overlap_mask_area_threshold"],
    )
    runs = [given["return_coco_annotation"] and not each.map.is_floating_point() for each in found]
    return _records(found, runs)


def eomt_semantic_method(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    outputs = given["outputs"]
    if given["return_segmentation_scores"] or outputs.patch_offsets:
        return plain(**given)
    square = _letterbox(given["size"] or processor.size, ())["square"]
    planes = vision.class_planes(outputs.class_queries_logits, outputs.masks_queries_logits, mask_size=square)
    return vision.semantic_maps(planes, sizes=given["target_sizes"])


def eomt_panoptic_method(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    found = eomt_panoptic(
        processor,
        given["outputs"],
        given["target_sizes"],
        size=given["size"],
        fuse=given["stuff_classes"] or (),
        threshold=given["threshold"],
        mask_threshold=given["mask_threshold"],
        overlap_threshold=given["overlap_mask_area_threshold"],
    )
    return _records(found)


def eomt_instance_method(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    options = {"threshold": given["threshold"], "size": given["size"]}
    return _records(eomt_instances(processor, given["outputs"], given["target_sizes"], **options))


def rf_detr_instance_method(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    if given["return_binary_maps"]:
        return plain(**given)  # whole masks, which are one call of torch, or two forms that cannot both be had
    outputs, options = given["outputs"], {name: given[name] for name in ("threshold", "mask_threshold", "top_k")}
    best = outputs.logits.sigmoid().flatten(1).amax(dim=1)
    runs = [given["return_coco_annotation"] and score > given["threshold"] for score in best.tolist()]
    return _records(rf_detr_instances(outputs, given["target_sizes"], **options), runs)
