"""YOLOS's pass without what nobody reads: positions resized once a size, of the last layer the detection tokens alone.

A YOLOS-tiny has 1,344 patches and 100 detection tokens at 512 x 672, and its heads read the latter. transformers
resizes its tables of positions by a bicubic filter in every pass, which takes as long as a layer.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_PIXELS = 1 << 16  # of a batch; with fewer all of it is calls, and there are as many here
MOST_SIZES = 8  # whose positions are kept
HOMES = ("torch.nn.modules.", "transformers.activations", "transformers.models.yolos.")


def yolos_pass(model: Any, pixels: Tensor, findings: dict[str, Any]) -> Any | None:
    """The outputs of a YOLOS for object detection, logits and boxes alone; None where it is not made as transformers
    makes it."""
    plain = all(type(module).__module__.startswith(HOMES) for module in model.modules())
    if not plain or model.config._attn_implementation != "sdpa" or pixels[:, 0].numel() < LEAST_PIXELS:
        return None
    from transformers.models.yolos.modeling_yolos import YolosObjectDetectionOutput

    vit, size = model.vit, (pixels.shape[-2], pixels.shape[-1])
    hidden = _embedded(vit.embeddings, pixels, findings)
    middle = _middle_positions(vit.encoder, size, findings)
    *layers, last = vit.encoder.layer
    for number, layer in enumerate(layers):
        hidden = layer(hidden)
        if middle is not None:
            hidden = hidden + middle[number]
    found = vit.layernorm(rows_of_layer(last, hidden, model.config.num_detection_tokens))
    boxes = model.bbox_predictor(found).sigmoid()
    return YolosObjectDetectionOutput(logits=model.class_labels_classifier(found), pred_boxes=boxes)


def rows_of_layer(layer: Any, hidden: Tensor, count: int) -> Tensor:
    """The last ``count`` rows of what a layer makes of [B, T, D]: they attend to all rows."""
    normed, attention = layer.layernorm_before(hidden), layer.attention.attention
    query, key, value = (
        each.view(*each.shape[:2], attention.num_attention_heads, attention.attention_head_size).transpose(1, 2)
        for each in (attention.query(normed[:, -count:]), attention.key(normed), attention.value(normed))
    )
    context = F.scaled_dot_product_attention(query, key, value, scale=attention.scaling).transpose(1, 2).flatten(2)
    rows = layer.attention.output.dense(context) + hidden[:, -count:]
    result: Tensor = layer.output(layer.intermediate(layer.layernorm_after(rows)), rows)
    return result


def _embedded(embeddings: Any, pixels: Tensor, findings: dict[str, Any]) -> Tensor:
    """[B, T, D]: the class token, the patches, the detection tokens, each at its place."""
    table, size = embeddings.position_embeddings, (pixels.shape[-2], pixels.shape[-1])
    places = _resized("positions", table, size, lambda: embeddings.interpolation(table, size), findings)
    tokens = [each.expand(len(pixels), -1, -1) for each in (embeddings.cls_token, embeddings.detection_tokens)]
    return torch.cat((tokens[0], embeddings.patch_embeddings(pixels), tokens[1]), dim=1).add_(places)


def _middle_positions(encoder: Any, size: tuple[int, int], findings: dict[str, Any]) -> Tensor | None:
    """[L - 1, 1, T, D], what is added between the layers of models that have it; transformers 4 gives it the table."""
    interpolation = encoder.interpolation
    if interpolation is None:
        return None
    own = getattr(interpolation, "mid_position_embeddings", None)
    if own is not None:
        return _resized("middle positions", own, size, lambda: interpolation(size), findings)
    table = encoder.mid_position_embeddings
    return _resized("middle positions", table, size, lambda: interpolation(table, size), findings)


def _resized(
    name: str, table: Tensor, size: tuple[int, int], resize: Callable[[], Tensor], findings: dict[str, Any]
) -> Tensor:
    """What ``resize`` makes of a table for pictures of that size, kept for as long as the table holds the same numbers.

    They are compared, at a hundredth of the cost: a version would not tell of what is written through ``.data``.
    """
    source, known = findings.get(name, (None, {}))
    if source is None or not torch.equal(source, table):
        source, known = table.detach().clone(), {}
        findings[name] = (source, known)
    found: Tensor | None = known.get(size)
    if found is None:
        found = resize().detach()
        if len(known) < MOST_SIZES:
            known[size] = found
    return found
