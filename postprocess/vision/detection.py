"""Detectors' logits and boxes to detections, a batch at once: the four rules in use.

==================  ==================================================================  ==========================
function            rule                                                                models
==================  ==================================================================  ==========================
detect_softmax      softmax, best class but the last ("no object"), every query         DETR, YOLOS, Table Transformer
detect_sigmoid      sigmoid of every class, the ``top_k`` best pairs (query, class)      Deformable, Conditional and LW
                                                                                        DETR, RT-DETR, D-FINE, RF-DETR
detect_best_label   the largest logit of each query, its sigmoid                        OWL-ViT, OWLv2, Grounding DINO
detect_every_label  every pair (label, query) by itself, best first                     the zero-shot pipeline
==================  ==================================================================  ==========================

All keep ``score > threshold``, strictly, in the scores' own dtype. NaN never passes. Boxes come as cxcywh relative to
the image and leave as xyxy, in pixels where ``sizes`` are given.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .best_pairs import best_pairs
from .boxes import Sizes, box_scales, convert_boxes
from .detections import Detections, first_of_each

Threshold = float | Tensor


def detect_softmax(
    logits: Tensor,
    boxes: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: Threshold = 0.5,
    label_thresholds: Tensor | None = None,
) -> Detections:
    """Detections of a model with a "no object" class, in the order of its queries.

    logits: [B, Q, C + 1] float, the last class is "no object". boxes: [B, Q, 4] cxcywh in 0..1. sizes: (height, width)
    of each image, [B, 2] or a list; None leaves boxes relative. threshold: float or [B]; label_thresholds: [C], in its
    place for each label. Ties: the lower class. Cost: one softmax.
    >>> logits = torch.tensor([[[0.0, 0, 0], [2, 2, 0], [0, 0, 5]]])
    >>> boxes = torch.tensor([[[0.5, 0.5, 1.2, 0.5], [0.25, 0.25, 0.1, 0.1], [0.5, 0.5, 0.1, 0.1]]])
    >>> detect_softmax(logits, boxes, sizes=[(100, 200)], threshold=0.3).boxes.round().int()
    tensor([[-20,  25, 220,  75],
            [ 40,  20,  60,  30]], dtype=torch.int32)
    """
    _check(logits, boxes)
    scores, labels = logits.softmax(dim=-1)[..., :-1].max(dim=-1)
    keep = _above(scores, labels, threshold, label_thresholds)
    return _detections(scores, labels, boxes, keep, sizes, as_float=True)


def detect_best_label(
    logits: Tensor,
    boxes: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: Threshold = 0.1,
    label_thresholds: Tensor | None = None,
    square: bool = False,
) -> Detections:
    """Detections by each query's largest logit, in the order of the queries.

    logits: [B, Q, L] float, one class per text query (or token). boxes, sizes, thresholds: as `detect_softmax`.
    square: the model saw its image padded to a square (OWLv2). Ties: the lower label.
    """
    _check(logits, boxes)
    best = logits.max(dim=-1)
    scores, labels = best.values.sigmoid(), best.indices
    keep = _above(scores, labels, threshold, label_thresholds)
    return _detections(scores, labels, boxes, keep, sizes, square=square)


def detect_every_label(
    logits: Tensor,
    boxes: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: Threshold = 0.1,
    label_thresholds: Tensor | None = None,
    top_k: int | None = None,
    square: bool = False,
) -> Detections:
    """Detections of every label by itself, best first: a box may come once for each label.

    logits: [B, Q, L] float. The zero-shot pipeline of transformers runs the model once per label and sorts what each
    run found; with a model that scores labels independently (OWL) this is its answer from one run. Ties: the earlier
    label, then the earlier query. A score of 0 is never reported. top_k: boxes per image; None and 0 keep all.
    """
    _check(logits, boxes)
    scores = _sigmoid_by_label(logits.transpose(1, 2))  # [B, L, Q]
    labels = torch.arange(logits.shape[2], device=logits.device)[:, None].expand(scores.shape)
    keep = _above(scores, labels, threshold, label_thresholds) & (scores != 0)
    image, label, query = keep.nonzero(as_tuple=True)
    found = scores[image, label, query]
    order = found.argsort(descending=True, stable=True)
    if logits.shape[0] > 1:
        order = order[image[order].argsort(stable=True)]
    image, query, label, found = image[order], query[order], label[order], found[order]
    corners = _corners(boxes, image, query, sizes, square=square)
    detections = Detections(found, label, corners, image, query, logits.shape[0])
    return first_of_each(detections, top_k) if top_k else detections


def _sigmoid_by_label(logits: Tensor) -> Tensor:
    """Sigmoid of [B, L, Q] as of L runs. On the CPU a last bit depends on the place in the memory that a call is given
    (the last values of a call are not computed by vectors), so every label gets a call of its own."""
    if logits.device.type != "cpu" or logits.numel() == 0:
        return logits.sigmoid()
    return torch.stack([row.sigmoid() for row in logits.flatten(0, 1).contiguous()]).reshape(logits.shape)


def detect_sigmoid(
    logits: Tensor,
    boxes: Tensor,
    *,
    top_k: int | None = 100,
    sizes: Sizes | None = None,
    threshold: Threshold = 0.5,
    label_thresholds: Tensor | None = None,
    as_float: bool = True,
) -> Detections:
    """The ``top_k`` best pairs of query and class of each image that pass the threshold, best first.

    logits: [B, Q, C] float. top_k: int, None for as many as there are queries (RT-DETR, RF-DETR). boxes, sizes,
    thresholds: as `detect_softmax`. as_float: whether a list of sizes turns bfloat16 boxes into float32 (Deformable
    DETR) or not (RT-DETR). Ties: as torch.topk of the row's probabilities orders them.
    Cost: on the CPU two reads of the logits; a sigmoid and a selection where two scores come within rounding.
    """
    _check(logits, boxes)
    batch, queries, classes = logits.shape
    count = min(queries if top_k is None else top_k, queries * classes)
    flat = logits.reshape(batch, queries * classes)
    limit = None if label_thresholds is not None else _per_image(threshold, flat)
    image, pair, scores = best_pairs(flat, count, limit)
    if label_thresholds is not None:
        keep = scores > label_thresholds.to(scores)[pair % max(classes, 1)]
        image, pair, scores = image[keep], pair[keep], scores[keep]
    query = torch.div(pair, max(classes, 1), rounding_mode="floor")
    corners = _corners(boxes, image, query, sizes, as_float=as_float)
    return Detections(scores, pair - query * classes, corners, image, query, batch)


def _above(scores: Tensor, labels: Tensor, threshold: Threshold, label_thresholds: Tensor | None) -> Tensor:
    if label_thresholds is not None:
        return scores > label_thresholds.to(scores)[labels]
    return scores > _per_image(threshold, scores)


def _per_image(threshold: Threshold, scores: Tensor) -> Threshold:
    """A threshold per image, as a column beside scores [B, ...]; one number stays a number."""
    if not isinstance(threshold, Tensor) or threshold.dim() == 0:
        return threshold
    if threshold.shape != scores.shape[:1]:
        raise ValueError(f"threshold must be a number or [{scores.shape[0]}]; got shape {list(threshold.shape)}")
    return threshold.to(scores).reshape(-1, *[1] * (scores.dim() - 1))


def _detections(
    scores: Tensor,
    labels: Tensor,
    boxes: Tensor,
    keep: Tensor,
    sizes: Sizes | None,
    *,
    square: bool = False,
    as_float: bool = False,
) -> Detections:
    """The queries of a [B, Q] mask."""
    image, query = keep.nonzero(as_tuple=True)
    corners = _corners(boxes, image, query, sizes, square=square, as_float=as_float)
    scores, labels = (_of_queries(values, image, query) for values in (scores, labels))
    return Detections(scores, labels, corners, image, query, boxes.shape[0])


def _of_queries(values: Tensor, image: Tensor, query: Tensor) -> Tensor:
    """The values [N, ...] of chosen queries among [B, Q, ...]; of one image they need no second index."""
    return values[0].index_select(0, query) if values.shape[0] == 1 else values[image, query]


def _corners(
    boxes: Tensor, image: Tensor, query: Tensor, sizes: Sizes | None, *, square: bool = False, as_float: bool = False
) -> Tensor:
    """Boxes [N, 4] of chosen queries, as corners: only they are converted and scaled."""
    chosen = convert_boxes(_of_queries(boxes, image, query), "cxcywh", "xyxy")
    if sizes is None:
        return chosen
    scales = box_scales(sizes, boxes.shape[0], square=square, as_float=as_float).to(boxes.device)
    return chosen * (scales if len(scales) == 1 else scales[image])


def _check(logits: Tensor, boxes: Tensor) -> None:
    if logits.dim() != 3:
        raise ValueError(f"logits must be [B, Q, C]; got shape {list(logits.shape)}")
    if boxes.shape != (*logits.shape[:2], 4):
        raise ValueError(f"boxes must be [{logits.shape[0]}, {logits.shape[1]}, 4]; got shape {list(boxes.shape)}")
