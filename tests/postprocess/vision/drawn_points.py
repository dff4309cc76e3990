"""Depth, keypoints and poses drawn with masks, padding and peaks at edges, one check per family."""

from __future__ import annotations

import random
import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image

from afterlogits.benchmarks.answers import require_same
from afterlogits.postprocess import vision


def draw(seed: int) -> tuple[random.Random, torch.Generator]:
    return random.Random(seed), torch.Generator().manual_seed(seed)


DEPTH = ("DPTImageProcessor", "GLPNImageProcessor")


def check_depth(seed: int) -> None:
    """Maps, and the pictures that the pipeline makes of them."""
    from transformers.pipelines.depth_estimation import DepthEstimationPipeline

    choose, generator = draw(seed)
    batch = choose.randint(1, 3)
    predicted = torch.randn(batch, choose.randint(1, 20), choose.randint(1, 20), generator=generator)
    predicted = torch.zeros_like(predicted) if choose.random() < 0.1 else predicted
    sizes = [(choose.randint(1, 60), choose.randint(1, 60)) for _ in range(batch)]
    sizes = choose.choice((None, sizes, sizes))
    name = choose.choice(DEPTH)
    processor = getattr(transformers, name)()
    outputs = SimpleNamespace(predicted_depth=predicted)
    theirs = [row["predicted_depth"] for row in processor.post_process_depth_estimation(outputs, sizes)]
    lost = name.startswith("DPT") or transformers.__version__.startswith("4.")  # axes of length 1
    ours = vision.depth_maps(predicted, sizes=sizes, compat=lost)
    require_same(ours, theirs)
    target = (choose.randint(2, 60), choose.randint(2, 60))
    given = {"predicted_depth": predicted[:1], "target_size": target}
    stage = SimpleNamespace(image_processor=transformers.GLPNImageProcessor())
    if predicted[0].min() == predicted[0].max():
        return  # transformers divides by zero
    given_outputs = _Outputs(given)
    picture = DepthEstimationPipeline.postprocess(stage, given_outputs)["depth"]
    own = vision.depth_pictures(vision.depth_maps(predicted[:1], sizes=[target], compat=False))[0]
    np.testing.assert_array_equal(own.numpy(), np.asarray(picture))
    assert Image.fromarray(own.numpy()).mode == picture.mode


class _Outputs(dict):  # type: ignore[type-arg]
    """A model output: read by key and by attribute."""

    __getattr__ = dict.__getitem__


def check_matching(seed: int) -> None:
    choose, generator = draw(seed)
    batch, count = choose.randint(1, 3), choose.randint(1, 30)
    keypoints = torch.rand(batch, 2, count, 2, generator=generator) * 1.2 - 0.1
    mask = (torch.rand(batch, 2, count, generator=generator) < choose.choice((0.5, 0.9, 1.0))).int()
    if choose.random() < 0.5:
        mask = mask.sort(dim=2, descending=True).values  # padding at the end, as the models have it
    matches = torch.randint(-1, count + 2, (batch, 2, count), generator=generator)
    scores = torch.rand(batch, 2, count, generator=generator).mul(5).round().div(5)
    threshold = choose.choice((0.0, 0.2, 0.5))
    sizes: Any = [[(choose.randint(1, 500), choose.randint(1, 500)) for _ in range(2)] for _ in range(batch)]
    sizes = torch.tensor(sizes) if choose.random() < 0.5 else sizes
    outputs = SimpleNamespace(mask=mask, keypoints=keypoints, matches=matches, matching_scores=scores)
    name = choose.choice(("SuperGlueImageProcessor", "LightGlueImageProcessor"))
    if transformers.__version__.startswith("4."):
        matches.clamp_(max=int((mask[:, 1] > 0).sum(dim=1).min()) - 1)  # 4.57.6 raises IndexError beyond the points
    theirs = getattr(transformers, name)().post_process_keypoint_matching(outputs, sizes, threshold)
    options: dict[str, Any] = {"sizes": sizes, "mask": mask, "threshold": threshold}
    ours = vision.match_keypoints(keypoints, matches[:, 0], scores[:, 0], **options)
    require_same(ours.per_pair(), theirs)
    require_same(ours.records()[0], _as_pipeline(theirs[0], name))


def _as_pipeline(row: dict[str, torch.Tensor], name: str) -> Any:
    from transformers.pipelines.keypoint_matching import KeypointMatchingPipeline

    stage = SimpleNamespace(image_processor=SimpleNamespace(post_process_keypoint_matching=lambda *a, **k: [row]))
    return KeypointMatchingPipeline.postprocess(stage, {"model_outputs": None, "target_sizes": None})


def check_matching_both_ways(seed: int) -> None:
    choose, generator = draw(seed)
    batch, count = choose.randint(1, 3), choose.randint(1, 30)
    keypoints = torch.rand(batch, 2, count, 2, generator=generator)
    known = torch.rand(batch, count, generator=generator) < 0.7
    matches = torch.full((batch, 2, count), -1)
    for row in range(batch):
        places = known[row].nonzero()[:, 0]
        other = torch.randperm(count, generator=generator)[: len(places)]
        matches[row, 0, places], matches[row, 1, other] = other, places
    scores = torch.ones(batch, 2, count)
    sizes = [[(choose.randint(1, 500), choose.randint(1, 500)) for _ in range(2)] for _ in range(batch)]
    outputs = SimpleNamespace(keypoints=keypoints, matches=matches, matching_scores=scores)
    theirs = transformers.EfficientLoFTRImageProcessor().post_process_keypoint_matching(outputs, sizes, 0.5)
    require_same(vision.match_both_ways(keypoints, matches, scores, sizes=sizes, threshold=0.5).per_pair(), theirs)


def check_keypoints(seed: int) -> None:
    choose, generator = draw(seed)
    batch, count = choose.randint(1, 3), choose.randint(1, 30)
    keypoints, scores = torch.rand(batch, count, 2, generator=generator), torch.rand(batch, count, generator=generator)
    descriptors = torch.randn(batch, count, 4, generator=generator)
    mask = (torch.rand(batch, count, generator=generator) < 0.6).int()
    sizes: Any = [(choose.randint(1, 500), choose.randint(1, 500)) for _ in range(batch)]
    sizes = torch.tensor(sizes) if choose.random() < 0.5 else sizes
    outputs = SimpleNamespace(keypoints=keypoints, scores=scores, descriptors=descriptors, mask=mask)
    theirs = transformers.SuperPointImageProcessor().post_process_keypoint_detection(outputs, sizes)
    require_same(vision.detect_keypoints(keypoints, scores, descriptors, mask, sizes=sizes).per_image(), theirs)


def draw_heatmaps(choose: random.Random, generator: torch.Generator, persons: int, points: int) -> torch.Tensor:
    """Peaks anywhere, at edges and corners too; now and then flat, negative or noise."""
    height, width = choose.choice(((64, 48), (16, 12), (5, 9), (3, 3)))
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None, :]
    y = torch.randint(0, height, (persons, points, 1, 1), generator=generator)
    x = torch.randint(0, width, (persons, points, 1, 1), generator=generator)
    maps = torch.exp(-((rows - y) ** 2 + (columns - x) ** 2) / choose.choice((2.0, 8.0)))
    maps = maps + torch.randn(maps.shape, generator=generator) * choose.choice((0.01, 0.1, 1.0))
    if choose.random() < 0.2:
        maps[0, 0] = -maps[0, 0].abs() - 0.5
    return maps * choose.choice((1.0, 1.0, 60.0))


def check_pose(seed: int) -> None:
    choose, generator = draw(seed)
    counts = [choose.randint(1, 3) for _ in range(choose.randint(1, 2))]
    persons, points = sum(counts), choose.randint(2, 6)
    heatmaps = draw_heatmaps(choose, generator, persons, points)
    boxes = (torch.rand(persons, 4, generator=generator, dtype=torch.float64) * 200 + 1).tolist()
    grouped = [boxes[sum(counts[:i]) : sum(counts[: i + 1])] for i in range(len(counts))]
    kernel, threshold = choose.choice((3, 7, 11)), choose.choice((None, 0.0, 0.5))
    size = choose.choice(({"height": 256, "width": 192}, {"height": 64, "width": 96}))
    processor = transformers.VitPoseImageProcessor(size=size)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = processor.post_process_pose_estimation(
            SimpleNamespace(heatmaps=heatmaps), grouped, kernel_size=kernel, threshold=threshold
        )
    ours = vision.decode_poses(
        heatmaps,
        torch.tensor(boxes, dtype=torch.float64),
        input_size=(size["height"], size["width"]),
        kernel_size=kernel,
    )
    require_same(ours.records(counts, threshold=threshold), theirs)


CHECKS = {
    "depth": check_depth,
    "keypoint matching": check_matching,
    "keypoint matching, EfficientLoFTR": check_matching_both_ways,
    "keypoint detection": check_keypoints,
    "pose": check_pose,
}
