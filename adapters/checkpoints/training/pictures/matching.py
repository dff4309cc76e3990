"""The model that finds the corners of one view again in another: a SuperPoint and a LightGlue, trained together.

transformers trains neither (both raise on labels), so the losses are written here over their modules: which pixel of
each cell of 8 x 8 is a corner, if any; and the logarithm of LightGlue's assignment where corners are the same, after
each of its layers.
"""

from typing import Any

import numpy as np
import torch
import transformers
from numpy.random import Generator
from torch import Tensor, nn
from torch.nn import functional

from . import views

Batch = dict[str, Any]
_CELL = 8
_NO_CORNER = _CELL * _CELL
_MOST = 40
"""Points of a view that the matcher learns from: visible corners, and others that have no like."""


def matcher() -> Any:
    corners = transformers.SuperPointConfig(
        encoder_hidden_sizes=[8, 16, 32, 48],
        decoder_hidden_size=48,
        descriptor_decoder_dim=48,
        max_keypoints=64,
        keypoint_threshold=0.03,
        nms_radius=3,
        border_removal_distance=0,
    )
    config = transformers.LightGlueConfig(
        keypoint_detector_config=corners,
        descriptor_dim=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        depth_confidence=1.0,  # never sure enough to stop early, nor to leave a point out: with either switched off
        width_confidence=1.0,  # transformers gives the matches in a shape that its own processor cannot read
        filter_threshold=0.3,
        initializer_range=0.1,
    )
    model = transformers.LightGlueForKeypointMatching(config)
    for module in model.keypoint_detector.modules():
        if isinstance(module, nn.Conv2d):  # no norms: the activations live on the scale of the weights alone
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    model.keypoint_detector.to(memory_format=torch.channels_last)  # trains in half the time
    nn.init.normal_(model.positional_encoder.projector.weight, std=2.0)
    return model


def matcher_processor() -> Any:
    return transformers.LightGlueImageProcessor(size={"height": views.SIZE, "width": views.SIZE})


def matched_batch(rng: Generator, size: int) -> Batch:
    """Grey pictures [2B, 1, H, W], the class of each cell [2B, h, w], points [2B, N, 2] in pixels with their mask, and
    ``same`` [B, N, N]: which point of the first is which of the second."""
    drawn = [view for _ in range(size) for view in views.pair(rng)]
    images = torch.from_numpy(np.stack([view.image for view in drawn])).float() @ torch.tensor(views.GREY) / 255
    placed = [_points(rng, view) for view in drawn]
    points = torch.from_numpy(np.stack([places for places, _ in placed])).float()
    names = torch.from_numpy(np.stack([numbers for _, numbers in placed]))
    first, second = names[0::2], names[1::2]
    return {
        "pixels": images[:, None],
        "cells": torch.from_numpy(np.stack([_cells(view) for view in drawn])),
        "points": points,
        "mask": names != _PAD,
        "same": (first[:, :, None] == second[:, None, :]) & (first >= 0)[:, :, None],
    }


_PAD, _ALONE = -2, -1


def _points(rng: Generator, view: views.View) -> tuple[Any, Any]:
    """Visible corners, a pixel off at most and some left out, and a few places that are no corner: [N, 2] and the
    number of each corner [N]."""
    seen = np.flatnonzero(view.inside & (rng.random(len(view.corners)) < 0.95))[: _MOST - 6]
    away = rng.integers(0, views.SIZE, size=(int(rng.integers(0, 7)), 2))
    placed = np.floor(view.corners[seen]) + rng.choice((-1, 0, 0, 0, 1), size=(len(seen), 2))
    points, names = np.zeros((_MOST, 2)), np.full(_MOST, _PAD)
    count = len(seen) + len(away)
    points[:count] = np.concatenate((placed, away)).clip(0, views.SIZE - 1)
    names[:count] = np.concatenate((seen, np.full(len(away), _ALONE)))
    return points, names


def _cells(view: views.View) -> Any:
    """[h, w]: the place of the corner in each cell, row by row, or that there is none."""
    side = views.SIZE // _CELL
    cells = np.full((side, side), _NO_CORNER)
    x, y = np.floor(view.corners[view.inside]).astype(np.int64).T
    cells[y // _CELL, x // _CELL] = y % _CELL * _CELL + x % _CELL
    return cells


def matching_loss(model: Any, batch: Batch) -> Tensor:
    detector = model.keypoint_detector
    features = detector.encoder(batch["pixels"])[0]
    head = detector.keypoint_decoder
    logits = head.conv_score_b(functional.relu(head.conv_score_a(features)))
    corners = functional.cross_entropy(logits, batch["cells"])
    return corners + 0.5 * _assignment_loss(model, _descriptors(detector.descriptor_decoder, features, batch), batch)


def _descriptors(head: Any, features: Tensor, batch: Batch) -> Tensor:
    """[2B, N, C] at the points."""
    dense = head.conv_descriptor_b(functional.relu(head.conv_descriptor_a(features)))
    sampled = head._sample_descriptors(batch["points"], functional.normalize(dense, dim=1), _CELL)
    return torch.as_tensor(sampled).transpose(1, 2)


def _assignment_loss(model: Any, descriptors: Tensor, batch: Batch) -> Tensor:
    """The mean over LightGlue's layers of what it says to pairs that are one corner, and to points without a like."""
    mask, same = batch["mask"], batch["same"]
    positions = model.positional_encoder((batch["points"] - views.SIZE / 2) / (views.SIZE / 2))[0]
    states = model.input_projection(descriptors)
    unseen = torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))[:, None, None, :]
    total = torch.zeros(())
    for layer, assign in zip(model.transformer_layers, model.match_assignment_layers, strict=True):
        states = layer(states, positions, attention_mask=unseen)[0]
        scores = assign(states, mask.float())
        alone = [mask[side::2] & ~same.any(2 - side) for side in (0, 1)]
        paired = scores[:, :-1, :-1][same].mean()
        lonely = (scores[:, :-1, -1][alone[0]].mean() + scores[:, -1, :-1][alone[1]].mean()) / 2
        total = total - (paired + lonely) / 2
    return total / len(model.transformer_layers)
