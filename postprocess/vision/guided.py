"""Detections of models asked with an image (OWL-ViT) or with a sentence (Grounding DINO, OmDet-Turbo)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .boxes import Sizes, clip_boxes, convert_boxes, size_columns
from .detection import Threshold, _above, _check, _corners, _detections
from .detections import Detections
from .nms import float_boxes, nms, survivors


@dataclass(frozen=True)
class GroundedDetections:
    """Detections with the tokens of the sentence that each box stands for. N boxes, T tokens."""

    detections: Detections
    tokens: Tensor  # [N, T] bool

    def token_ids(self, input_ids: Tensor) -> list[list[int]]:
        """The ids of each box's tokens, in order. input_ids: [B, L] with L up to T."""
        length = input_ids.shape[1]
        ids = input_ids[self.detections.image.to(input_ids.device)].tolist()
        found: list[list[int]] = [[] for _ in ids]
        for box, position in self.tokens[:, :length].nonzero().tolist():
            found[box].append(ids[box][position])
        return found


def detect_image_guided(
    logits: Tensor,
    boxes: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: float = 0.0,
    iou_threshold: float = 0.3,
    square: bool = False,
    compat: bool = True,
) -> Detections:
    """Boxes of an image that look like a query image, in the order of the patches; labels are all 0.

    logits: [B, Q, L] float, the largest of each patch counts. boxes: [B, Q, 4] cxcywh. Boxes are suppressed by
    ``iou_threshold`` (1 or more: none), then those with scores below ``threshold`` go.
    compat=True: scores are display alphas, ``(score - 0.1 best) / (0.9 best)`` of the image's best score within 0..1,
    and boxes whose alpha is 0 go, as in transformers. compat=False: scores are probabilities.
    """
    _check(logits, boxes)
    scores = logits.amax(dim=-1).sigmoid()
    batch, queries = scores.shape
    keep = torch.ones_like(scores, dtype=torch.bool)
    if iou_threshold < 1.0:
        # An argsort that need not be stable orders ties by the length of its row: the same calls, the same order.
        order = torch.stack([torch.argsort(-row) for row in scores]) if batch else keep.long()
        corners = convert_boxes(boxes, "cxcywh", "xyxy").gather(1, order[..., None].expand(-1, -1, 4))
        image = torch.arange(batch, device=scores.device).repeat_interleave(queries)
        kept = survivors(float_boxes(corners.reshape(-1, 4)), image, iou_threshold)
        keep = torch.zeros_like(keep).scatter_(1, order, kept.reshape(scores.shape))
    scores = torch.where(keep & ~(scores < threshold), scores, 0.0)
    if compat:
        best = scores.amax(dim=1, keepdim=True) + 1e-6
        scores = ((scores - best * 0.1) / (best * 0.9)).clip(0.0, 1.0)
    labels = torch.zeros_like(scores, dtype=torch.long)
    return _detections(scores, labels, boxes, scores > 0, sizes, square=square)


def answered_images(logits: Tensor) -> Tensor:
    """[B] bool: images with a score that is not 0, NaN included. transformers leaves the others out of its list of
    guided detections."""
    return (logits.amax(dim=-1).sigmoid() != 0).any(dim=1)


def detect_grounded(
    logits: Tensor,
    boxes: Tensor,
    *,
    sizes: Sizes | None = None,
    threshold: Threshold = 0.25,
    text_threshold: float = 0.25,
) -> GroundedDetections:
    """Boxes with the tokens they stand for (Grounding DINO), in the order of the queries.

    logits: [B, Q, T] float, one per token, -inf where the sentence has none. boxes, sizes, threshold: as
    `afterlogits.postprocess.vision.detect_softmax`. A token belongs to a box if its probability exceeds
    ``text_threshold``; the first and the last of the T never do.
    """
    _check(logits, boxes)
    probs = logits.sigmoid()
    scores, token = probs.max(dim=-1)
    keep = _above(scores, token, threshold, None)
    detections = _detections(scores, token, boxes, keep, sizes, as_float=True)
    tokens = probs[detections.image, detections.query] > text_threshold
    tokens[:, :1] = False
    tokens[:, -1:] = False
    return GroundedDetections(detections, tokens)


def detect_text_classes(
    logits: Tensor,
    boxes: Tensor,
    class_counts: Tensor,
    *,
    sizes: Sizes,
    threshold: float = 0.3,
    iou_threshold: float = 0.5,
    top_k: int | None = None,
) -> Detections:
    """Detections of a model with its classes given as text (OmDet-Turbo), best first, clipped to the image.

    logits: [B, Q, C] float. boxes: [B, Q, 4] cxcywh. class_counts: [B], the classes asked for each image; the other
    columns are padding. top_k: pairs considered per image, None for as many as queries. Boxes of one class suppress
    each other; as in torchvision, up to 1,000 boxes are moved apart by class before overlaps are computed.
    """
    _check(logits, boxes)
    batch, queries, classes = logits.shape
    scores, pair = (
        logits.sigmoid()
        .reshape(batch, queries * classes)
        .topk(queries if top_k is None else top_k, dim=1, sorted=False)
    )
    label = pair % classes
    keep = (scores > threshold) & (label < class_counts.to(label.device)[:, None])
    image = keep.nonzero()[:, 0]
    pair, label, scores = pair[keep], label[keep], scores[keep]
    query = torch.div(pair, classes, rounding_mode="floor")
    found = Detections(scores, label, _corners(boxes, image, query, sizes), image, query, batch)
    kept = torch.cat([_best_first(found, index, iou_threshold) for index in range(batch)] or [image])
    found = found.select(kept)
    height, width = size_columns(sizes, batch)
    limits = torch.stack((height, width), dim=1).to(found.boxes.device)[found.image]
    clipped = clip_boxes(found.boxes, limits)
    return Detections(found.scores, found.labels, clipped, found.image, found.query, batch)


def _best_first(found: Detections, index: int, iou_threshold: float) -> Tensor:
    """The kept boxes of one image by score."""
    mine = (found.image == index).nonzero()[:, 0]
    boxes, scores, labels = found.boxes[mine], found.scores[mine], found.labels[mine]
    if not len(mine) or boxes.numel() > 4000:
        return mine[nms(boxes, scores, iou_threshold=iou_threshold, groups=labels)]
    # torchvision moves the boxes of each class by a multiple of the largest coordinate, which rounds them.
    moved = boxes + labels[:, None].to(boxes) * (boxes.max() + 1)
    return mine[nms(moved, scores, iou_threshold=iou_threshold)]
