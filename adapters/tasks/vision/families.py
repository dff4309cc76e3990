"""Which kernel answers for an image processor: told by the class that defines its method, not by the model's name."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ....postprocess.vision.detection import detect_best_label, detect_sigmoid, detect_softmax
from ....postprocess.vision.detections import Detections

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


def family_of(processor: Any, method: str) -> str | None:
    """The family whose class defines ``method``: "Detr" for a YOLOS processor that inherits DETR's. None: no method."""
    for kind in type(processor).__mro__:
        if method in vars(kind):
            return _SUFFIX.sub("", kind.__name__)
    return None


def has(processor: Any, method: str) -> bool:
    return callable(getattr(processor, method, None))


def detect(
    processor: Any, outputs: Any, *, sizes: Tensor, threshold: float, label_thresholds: Tensor | None = None
) -> Detections:
    """The detections of a batch by the processor's family, or by its own method where the family is not known here.

    outputs: the model's, with ``logits`` and ``pred_boxes``. sizes: [B, 2] int, height and width.
    """
    rule = DETECTORS.get(family_of(processor, "post_process_object_detection") or "")
    if rule is not None:
        logits, boxes = outputs["logits"], outputs["pred_boxes"]
        return rule(logits, boxes, sizes=sizes.to(boxes.device), threshold=threshold, label_thresholds=label_thresholds)
    lowest = threshold if label_thresholds is None else float(label_thresholds.min())
    own = processor.post_process_object_detection(outputs, threshold=lowest, target_sizes=sizes)
    found = of_images(own)
    if label_thresholds is None:
        return found
    return found.select(found.scores > label_thresholds.to(found.scores)[found.labels])


def of_images(found: list[dict[str, Tensor]]) -> Detections:
    """The tensors that a processor's own method returns for each image, as columns of the batch."""
    counts = [len(each["scores"]) for each in found]
    image = torch.repeat_interleave(torch.arange(len(found)), torch.tensor(counts, dtype=torch.long))
    columns = {
        name: torch.cat([each[name] for each in found]) if found else torch.zeros(0)
        for name in ("scores", "labels", "boxes")
    }
    place = torch.cat([torch.arange(count) for count in counts]) if found else torch.zeros(0, dtype=torch.long)
    return Detections(**columns, image=image.to(columns["scores"].device), query=place, num_images=len(found))
