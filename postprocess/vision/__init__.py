"""Answers of vision models: boxes, masks, maps and points from logits, whole batches at once.

Tensors in, columns out; torch and numpy alone, no image library. ``detection`` is the place to begin.
"""

from .boxes import clip_boxes, convert_boxes, pairwise_iou, pairwise_overlap, scale_boxes
from .detection import detect_best_label, detect_every_label, detect_sigmoid, detect_softmax
from .detections import Detections, first_of_each, merge_images
from .guided import (
    GroundedDetections,
    answered_images,
    detect_grounded,
    detect_image_guided,
    detect_text_classes,
)
from .nms import nms, soft_nms, suppress

__all__ = [
    "Detections",
    "GroundedDetections",
    "answered_images",
    "clip_boxes",
    "convert_boxes",
    "detect_best_label",
    "detect_every_label",
    "detect_grounded",
    "detect_image_guided",
    "detect_sigmoid",
    "detect_softmax",
    "detect_text_classes",
    "first_of_each",
    "merge_images",
    "nms",
    "pairwise_iou",
    "pairwise_overlap",
    "scale_boxes",
    "soft_nms",
    "suppress",
]
