"""How the vision kernels grow with pixels, classes, queries and points, against the cost that they document."""

from __future__ import annotations

import pytest
import torch

from afterlogits.benchmarks import vision_workloads as workloads
from afterlogits.postprocess import vision

EDGES = [256, 512, 1024, 2048]
PIXELS = [edge * edge for edge in EDGES]


def side(pixels: int) -> int:
    return round(pixels**0.5)


@pytest.mark.parametrize("axis", ["pixels", "classes"])
def bench_semantic_map(growth, axis):
    """From logits of 128 x 128: time follows the pixels of the picture, memory too: the map itself."""

    def make(size):
        classes, edge = (150, side(size)) if axis == "pixels" else (size, 512)
        logits = workloads.class_planes(classes, 128, 128).logits.to(growth.device)
        return lambda: vision.semantic_maps(logits, sizes=[(edge, edge)])

    sizes = PIXELS if axis == "pixels" else [20, 40, 80, 160]
    growth("semantic map of regions", axis=axis, sizes=sizes, make=make, time=1, memory=1, rounds=3)


def universal(size, axis, kept=10):
    """Class and mask logits and the size of the picture: 100 queries, 133 classes, 512 x 512, but for one axis."""
    count = size if axis == "queries" else 100
    classes = size if axis == "classes" else 133
    outputs = workloads.queries(count, classes, kept=count // 10 if axis == "queries" else kept)
    edge = side(size) if axis == "pixels" else 512
    return outputs.class_queries_logits, outputs.masks_queries_logits, [(edge, edge)]


@pytest.mark.parametrize("axis", ["pixels", "queries", "classes"])
@pytest.mark.parametrize("kind", ["panoptic", "instance"])
def bench_segments(growth, kind, axis):
    """A tenth of the queries is certain; the others cost their class scores alone.

    Between 5 and 40 instances of 512 x 512 what is resized for them leaves the cache: .5 to .9 ms each, so that their
    time is documented as the power 1.2 of the queries.
    """
    rule = {"panoptic": vision.panoptic_maps, "instance": vision.instance_maps}[kind]

    def make(size):
        classes, masks, sizes = universal(size, axis)
        classes, masks = classes.to(growth.device), masks.to(growth.device)
        return lambda: rule(classes, masks, sizes=sizes, mask_size=(384, 384))

    sizes = {"pixels": PIXELS, "queries": [50, 100, 200, 400], "classes": [50, 200, 800, 3200]}[axis]
    time = 1.2 if (kind, axis) == ("instance", "queries") else 1
    growth(f"{kind} map", axis=axis, sizes=sizes, make=make, time=time, memory=1, rounds=3)


@pytest.mark.full
def bench_kept_segments(growth):
    """All queries kept: the work grows with them."""

    def make(count):
        outputs = workloads.on(growth.device, workloads.queries(count, 133, kept=count))
        columns = (outputs.class_queries_logits, outputs.masks_queries_logits)
        return lambda: vision.panoptic_maps(*columns, sizes=[(480, 640)], mask_size=(384, 384))

    growth("panoptic map, 480 x 640", axis="queries", sizes=[8, 16, 32, 64], make=make, time=1)


@pytest.mark.parametrize("axis", ["queries", "classes", "images"])
def bench_detections(growth, axis):
    """The 100 best pairs of query and class, as records.

    Memory is not fitted: a row in which rounding may reorder the best takes its scores' memory, others hardly any.
    """

    def make(size):
        shape = {"images": 8, "queries": 300, "classes": 91} | {axis: size}
        outputs = workloads.on(growth.device, workloads.detections(*shape.values()))
        sizes = [(480, 640)] * shape["images"]
        return lambda: vision.detect_sigmoid(outputs.logits, outputs.pred_boxes, sizes=sizes, threshold=0.0).records()

    sizes = {"images": [8, 16, 32, 64], "queries": [300, 900, 2700, 8100], "classes": [91, 365, 1460, 5840]}[axis]
    growth("detections by sigmoid, records", axis=axis, sizes=sizes, make=make, time=1)


@pytest.mark.parametrize("axis", ["pixels", "points"])
def bench_mask_filter(growth, axis):
    """Three masks a point, a third of them good."""

    def make(size):
        points, edge = (size, 512) if axis == "points" else (8, side(size))
        masks, scores = (each.to(growth.device) for each in workloads.point_masks(points))
        box = torch.tensor([0.0, 0.0, edge, edge])
        options = {"image_size": (edge, edge), "crop_box": box, "pad_size": (1024, 1024), "input_size": (1024, 1024)}
        return lambda: vision.generate_masks(masks, scores, **options)

    sizes = PIXELS if axis == "pixels" else [4, 8, 16, 32]
    growth("mask generation, filter", axis=axis, sizes=sizes, make=make, time=1, rounds=3)


@pytest.mark.cpu_only
@pytest.mark.parametrize("kind", ["encode", "decode"])
def bench_run_lengths(growth, kind):
    def make(pixels):
        edge = side(pixels)
        masks = torch.nn.functional.interpolate(workloads.point_masks(2)[0], size=(edge, edge)).flatten(0, 1) > 0
        runs = vision.encode_masks(masks)
        return (lambda: vision.encode_masks(masks)) if kind == "encode" else runs.decode

    growth(f"run lengths of 6 masks, {kind}", axis="pixels", sizes=PIXELS, make=make, time=1, memory=1)


@pytest.mark.parametrize("axis", ["points", "persons"])
def bench_points(growth, axis):
    """Matches of a pair of pictures; poses of 17 points."""

    def make(size):
        if axis == "persons":
            heatmaps = workloads.heatmaps(size).to(growth.device)
            boxes = torch.rand(size, 4, generator=torch.Generator().manual_seed(0)) * 200 + 10
            return lambda: vision.decode_poses(heatmaps, boxes.double(), input_size=(256, 192)).records([size])
        generator = torch.Generator().manual_seed(0)
        points = torch.rand(1, 2, size, 2, generator=generator)
        matches = torch.randint(-1, size, (1, size), generator=generator)
        scores, mask = torch.rand(1, size, generator=generator), torch.ones(1, 2, size)
        sizes = [[(480, 640), (480, 640)]]
        return lambda: vision.match_keypoints(points, matches, scores, sizes=sizes, mask=mask).records()

    sizes = [8, 32, 128, 512] if axis == "persons" else [1024, 4096, 16_384, 65_536]
    growth("poses" if axis == "persons" else "keypoint matches", axis=axis, sizes=sizes, make=make, time=1, rounds=3)
