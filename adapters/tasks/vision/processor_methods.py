"""What image processors' ``post_process_*`` methods return, by the kernels: one function a method, told by family.

Each takes the processor, the arguments of transformers' method by name, and the method itself for what the kernels
leave to it (scores of every class at full size, RT-DETR without focal loss). Where a family is not listed, its method
stays.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ....postprocess import vision
from . import segment_rules
from .families import VERSION_4, find_poses

Arguments = Mapping[str, Any]
Method = Callable[[Any, Arguments, Callable[..., Any]], Any]


def _softmax(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    outputs = given["outputs"]
    options = {"sizes": given["target_sizes"], "threshold": given["threshold"]}
    return vision.detect_softmax(outputs.logits, outputs.pred_boxes, **options).per_image()


def _sigmoid(processor: Any, given: Arguments, plain: Callable[..., Any], *, as_float: bool = True) -> Any:
    """Detection by a sigmoid for each class (Deformable DETR and its like); without focal loss transformers' own."""
    if not given.get("use_focal_loss", True):
        return plain(**given)
    outputs = given["outputs"]
    found = vision.detect_sigmoid(
        outputs.logits,
        outputs.pred_boxes,
        sizes=given["target_sizes"],
        threshold=given["threshold"],
        top_k=given.get("top_k"),
        as_float=as_float,
    )
    return found.per_image()


def _sigmoid_of_queries(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    return _sigmoid(processor, given, plain, as_float=False)


def _best_label(processor: Any, given: Arguments, plain: Callable[..., Any], *, square: bool = False) -> Any:
    outputs = given["outputs"]
    options = {"sizes": given["target_sizes"], "threshold": given["threshold"], "square": square}
    return vision.detect_best_label(outputs.logits, outputs.pred_boxes, **options).per_image()


def _best_label_of_square(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    return _best_label(processor, given, plain, square=True)


def _image_guided(processor: Any, given: Arguments, plain: Callable[..., Any], *, square: bool = False) -> Any:
    """OWL-ViT's detection by a picture; images without an answer are left out, as in transformers."""
    logits, boxes = given["outputs"].logits, given["outputs"].target_pred_boxes
    found = vision.detect_image_guided(
        logits,
        boxes,
        sizes=given["target_sizes"],
        threshold=given["threshold"],
        iou_threshold=given["nms_threshold"],
        square=square,
    )
    answered = vision.answered_images(logits).tolist()
    return [
        {"scores": row["scores"], "labels": None, "boxes": row["boxes"]}
        for row, there in zip(found.per_image(), answered, strict=True)
        if there
    ]


def _image_guided_of_square(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    return _image_guided(processor, given, plain, square=True)


def _grounded(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    """Grounding DINO's detection, its labels read from the tokens that each box points to."""
    outputs = given["outputs"]
    input_ids = outputs.input_ids if given["input_ids"] is None else given["input_ids"]
    found = vision.detect_grounded(
        outputs.logits,
        outputs.pred_boxes,
        sizes=given["target_sizes"],
        threshold=given["threshold"],
        text_threshold=given["text_threshold"],
    )
    names = processor.batch_decode(found.token_ids(torch.as_tensor(input_ids)))
    # transformers returns a dict that warns of a name to come; where it has one, so do we.
    kind = getattr(sys.modules[type(processor).__module__], "DictWithDeprecationWarning", dict)
    results, first = [], 0
    for row in found.detections.per_image():
        own = names[first : first + len(row["scores"])]
        first += len(own)
        results.append(kind({"scores": row["scores"], "boxes": row["boxes"], "text_labels": own, "labels": own}))
    return results


def _text_classes(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    """OmDet's detection by names; what its inputs leave open goes to transformers' own method."""
    outputs, texts, sizes = given["outputs"], given["text_labels"], given["target_sizes"]
    if sizes is None or len(sizes) != len(outputs.decoder_coord_logits):
        return plain(**given)  # which asks the image processor, or says what is wrong
    texts = [texts] if texts is not None and isinstance(texts[0], str) else texts
    if texts is not None and len(texts) != len(sizes):
        return plain(**given)
    found = vision.detect_text_classes(
        outputs.decoder_class_logits,
        outputs.decoder_coord_logits,
        torch.as_tensor(outputs.classes_structure),
        sizes=sizes,
        threshold=given["threshold"],
        iou_threshold=given["nms_threshold"],
        top_k=given["max_num_det"],
    )
    return [
        {
            "boxes": row["boxes"],
            "scores": row["scores"],
            "labels": row["labels"],
            "text_labels": None if texts is None else [texts[image][label] for label in row["labels"].tolist()],
        }
        for image, row in enumerate(found.per_image())
    ]


def _planes(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    if given.get("return_segmentation_scores"):
        return plain(**given)
    return vision.semantic_maps(given["outputs"].logits, sizes=given["target_sizes"])


def _named_planes(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    """TIPSv2's, whose models name them in two ways."""
    outputs = given["outputs"]
    logits = getattr(outputs, "segmentation_logits", None)
    if given["return_segmentation_scores"]:
        return plain(**given)
    return vision.semantic_maps(outputs.logits if logits is None else logits, sizes=given["target_sizes"])


def _queries(
    processor: Any, given: Arguments, plain: Callable[..., Any], *, keep_last: bool = False, mask_size: Any = None
) -> Any:
    if given.get("return_segmentation_scores"):
        return plain(**given)
    classes, masks = _query_logits(given["outputs"])
    planes = vision.class_planes(classes, masks, keep_last=keep_last, mask_size=mask_size)
    return vision.semantic_maps(planes, sizes=given["target_sizes"])


def _query_logits(outputs: Any) -> tuple[Any, Any]:
    if hasattr(outputs, "class_queries_logits"):
        return outputs.class_queries_logits, outputs.masks_queries_logits
    return outputs.logits, outputs.pred_masks


def _queries_with_last(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    return _queries(processor, given, plain, keep_last=True)


def _queries_at_384(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    return _queries(processor, given, plain, mask_size=(384, 384))


def _segments(given: Arguments, mask_size: Any) -> Sequence[vision.Segmentation]:
    return vision.panoptic_maps(
        *_query_logits(given["outputs"]),
        sizes=given["target_sizes"],
        threshold=given["threshold"],
        mask_threshold=given["mask_threshold"],
        overlap_threshold=given["overlap_mask_area_threshold"],
        fuse=given.get("label_ids_to_fuse") or (),
        mask_size=mask_size,
    )


def _panoptic(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    return [found.records() for found in _segments(given, None)]


def _panoptic_at_384(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    return [found.records() for found in _segments(given, (384, 384))]


def _instances_as_segments(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    records = [found.records() for found in _segments(given, None)]
    for record in records:
        # The map of an image without a kept query is left as it is, there too.
        if given.get("return_coco_annotation") and not record["segmentation"].is_floating_point():
            record["segmentation"] = vision.map_runs(record["segmentation"])[1]
    return records


def _instances(processor: Any, given: Arguments, plain: Callable[..., Any], *, mask_size: Any = None) -> Any:
    """Instance maps as records, as COCO's run lengths, or as a mask each."""
    runs, maps = given.get("return_coco_annotation"), given.get("return_binary_maps")
    if runs and maps:
        return plain(**given)  # which says that both cannot be had
    found = vision.instance_maps(
        *_query_logits(given["outputs"]),
        sizes=given["target_sizes"],
        threshold=given["threshold"],
        mask_size=mask_size,
    )
    records = []
    for instances in found:
        record = instances.segments.records()
        if runs:
            record["segmentation"] = vision.map_runs(record["segmentation"])[1]
        elif maps and len(instances.masks):
            record["segmentation"] = instances.full_masks().float()
        records.append(record)
    return records


def _instances_at_384(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    return _instances(processor, given, plain, mask_size=(384, 384))


def _depth(processor: Any, given: Arguments, plain: Callable[..., Any], *, compat: bool = True) -> Any:
    maps = vision.depth_maps(given["outputs"].predicted_depth, sizes=given["target_sizes"], compat=compat)
    return [{"predicted_depth": depth} for depth in maps]


def _depth_whole(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    return _depth(processor, given, plain, compat=False)


def _depth_unpadded(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    """Depth maps without the padding of the input, the mean with those of the mirrored picture if there are some."""
    remove = processor.do_pad if given["do_remove_padding"] is None else given["do_remove_padding"]
    if remove and given["source_sizes"] is None:
        return plain(**given)  # which says that they are needed
    flipped = given["outputs_flipped"]
    maps = vision.unpadded_depth_maps(
        given["outputs"].predicted_depth,
        source_sizes=given["source_sizes"],
        sizes=given["target_sizes"],
        flipped=None if flipped is None else flipped.predicted_depth,
        remove_padding=remove,
    )
    return [{"predicted_depth": depth} for depth in maps]


def _depth_inverse(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    """Depth Pro's maps in metres, from inverse depth and the field of view."""
    outputs, mode = given["outputs"], _MODES.get(int(processor.resample))
    if mode is None:
        return plain(**given)
    angles = outputs.field_of_view
    found = vision.inverse_depth_maps(
        outputs.predicted_depth, sizes=given["target_sizes"], field_of_view=angles, mode=mode
    )
    return [
        {"predicted_depth": depth, "field_of_view": angle, "focal_length": focal_length}
        for (depth, focal_length), angle in zip(found, [None] * len(found) if angles is None else angles, strict=True)
    ]


_MODES = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
"""Pillow's numbers of the ways to resample that torch has too."""


def _matches(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    """Pairs of key points whose scores are above the threshold, a record for each pair of pictures."""
    outputs = given["outputs"]
    found = vision.match_keypoints(
        outputs.keypoints,
        outputs.matches[:, 0],
        outputs.matching_scores[:, 0],
        sizes=given["target_sizes"],
        mask=outputs.mask,
        threshold=given["threshold"],
    )
    return found.per_pair()


def _matches_both_ways(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    outputs = given["outputs"]
    options = {"sizes": given["target_sizes"], "threshold": given["threshold"]}
    found = vision.match_both_ways(outputs.keypoints, outputs.matches, outputs.matching_scores, **options)
    return found.per_pair()


def _keypoints(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    outputs = given["outputs"]
    columns = (outputs.keypoints, outputs.scores, outputs.descriptors, outputs.mask)
    return vision.detect_keypoints(*columns, sizes=given["target_sizes"]).per_image()


def _poses(processor: Any, given: Arguments, plain: Callable[..., Any]) -> Any:
    heatmaps = given["outputs"].heatmaps
    people = [[[float(value) for value in box[:4]] for box in boxes] for boxes in given["boxes"]]
    if given["target_sizes"] is not None or sum(map(len, people)) != len(heatmaps):
        return plain(**given)
    options = {"kernel_size": given["kernel_size"], "threshold": given["threshold"]}
    return find_poses(processor, heatmaps, people, **options)


DETECTORS: Mapping[str, Method] = {
    "Detr": _softmax,
    "Yolos": _softmax,
    "ConditionalDetr": _sigmoid,
    "DeformableDetr": _sigmoid,
    "RTDetr": _sigmoid_of_queries,
    "RfDetr": _sigmoid_of_queries,
    "OwlViT": _best_label,
    "Owlv2": _best_label_of_square,
    "GroundingDino": _best_label,
}
PLANES = ("Beit", "CHMv2", "DPT", "MobileNetV2", "MobileViT", "Sapiens2", "Segformer")
"""Families whose logits are one plane a class."""
METHODS: Mapping[str, Mapping[str, Method]] = {
    "post_process_object_detection": DETECTORS,
    "post_process_image_guided_detection": {"OwlViT": _image_guided, "Owlv2": _image_guided_of_square},
    "post_process_grounded_object_detection": {"GroundingDino": _grounded, "OmDetTurbo": _text_classes},
    "post_process_semantic_segmentation": {
        **dict.fromkeys(PLANES, _planes),
        "Tipsv2Dpt": _named_planes,
        "Detr": _queries,
        "MaskFormer": _queries,
        "OneFormer": _queries,
        "ConditionalDetr": _queries if VERSION_4 else _queries_with_last,
        "Mask2Former": _queries_at_384,
        **({} if VERSION_4 else {"Eomt": segment_rules.eomt_semantic_method}),
    },
    "post_process_panoptic_segmentation": {
        **dict.fromkeys(("Detr", "ConditionalDetr", "MaskFormer"), _panoptic),
        "Mask2Former": _panoptic_at_384,
        "OneFormer": segment_rules.oneformer_panoptic_method,
        **({} if VERSION_4 else {"Eomt": segment_rules.eomt_panoptic_method}),
    },
    "post_process_instance_segmentation": {
        **dict.fromkeys(("Detr", "ConditionalDetr"), _instances_as_segments),
        "MaskFormer": _instances,
        "Mask2Former": _instances_at_384,
        "OneFormer": segment_rules.oneformer_instance_method,
        "RfDetr": segment_rules.rf_detr_instance_method,
        **({} if VERSION_4 else {"Eomt": segment_rules.eomt_instance_method}),
    },
    "post_process_depth_estimation": {
        **dict.fromkeys(("DPT", "PromptDepthAnything"), _depth),
        "GLPN": _depth if VERSION_4 else _depth_whole,
        "ZoeDepth": _depth_unpadded,
        "DepthPro": _depth_inverse,
    },
    "post_process_keypoint_matching": {
        **dict.fromkeys(("SuperGlue", "LightGlue"), _matches),
        "EfficientLoFTR": _matches_both_ways,
    },
    "post_process_keypoint_detection": {"SuperPoint": _keypoints},
    "post_process_pose_estimation": {"VitPose": _poses},
}
