"""Vision kernels against transformers' postprocessing: its image processors' methods and its pipelines' formatting."""

from __future__ import annotations

from importlib import import_module
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
import transformers

from afterlogits.benchmarks import vision_workloads as workloads
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.pairing import at_least, memory_at_most
from afterlogits.postprocess import vision
from afterlogits.postprocess.classification import classify

TABLE = "vision kernels"
SIZES = [(480, 640), (640, 427), (500, 375), (480, 640)] * 2
HD = (1080, 1920)


def close(ours, theirs):
    require_same(ours, theirs, rtol=2e-6)


def pipeline_stage(module, name, processor, labels):
    """What a pipeline's ``postprocess`` needs of its pipeline, and the method."""
    pipeline = getattr(import_module(f"transformers.pipelines.{module}"), name)
    config = SimpleNamespace(id2label=dict(enumerate(labels)), num_labels=len(labels), problem_type=None)
    stage = SimpleNamespace(image_processor=processor, tokenizer=None, model=SimpleNamespace(config=config))
    stage.framework = "pt"
    stage._get_bounding_box = lambda box: pipeline._get_bounding_box(stage, box)
    return lambda *arguments, **options: pipeline.postprocess(stage, *arguments, **options)


class Outputs(dict):
    """A model output, read by key and by attribute."""

    __getattr__ = dict.__getitem__


DETECTORS = {
    "DETR": ("DetrImageProcessor", vision.detect_softmax, {}, (100, 91), True),
    "Deformable DETR": ("DeformableDetrImageProcessor", vision.detect_sigmoid, {}, (300, 91), False),
    "RT-DETR": ("RTDetrImageProcessor", vision.detect_sigmoid, {"top_k": None, "as_float": False}, (300, 80), False),
}


@pytest.mark.parametrize(("threshold", "factor"), [(0.5, 2.5), (0.0, 5)])
@pytest.mark.parametrize("family", [*DETECTORS])
def bench_detection(pair, family, threshold, factor):
    name, rule, options, (queries, classes), no_object = DETECTORS[family]
    outputs = workloads.on(pair.device, workloads.detections(8, queries, classes, no_object=no_object))
    labels = [f"label {index}" for index in range(classes + 1)]
    postprocess = pipeline_stage("object_detection", "ObjectDetectionPipeline", getattr(transformers, name)(), labels)
    singles = [
        Outputs(
            logits=outputs.logits[i : i + 1], pred_boxes=outputs.pred_boxes[i : i + 1], target_size=torch.tensor([s])
        )
        for i, s in enumerate(SIZES)
    ]

    def ours():
        found = rule(outputs.logits, outputs.pred_boxes, sizes=SIZES, threshold=threshold, **options)
        return found.records(labels)

    pair(
        f"detection, {family}, records of 8 images, threshold {threshold:g}",
        table=TABLE,
        ours=ours,
        rivals={"transformers": lambda: [postprocess(Outputs(single), threshold=threshold) for single in singles]},
        data=outputs.logits,
        asked=[at_least(factor, "transformers")],
        same=close,
        memory=("ours",),
        readme="detections of 8 images, records" if (family, threshold) == ("DETR", 0.5) else "",
    )


@pytest.mark.parametrize("queries", [576, 3600])
def bench_zero_shot_detection(pair, queries):
    """The formatting alone: logits of 20 labels of one image, each label a run of its own in transformers."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, queries, 20, generator=generator).mul_(1.3).sub_(4.5).to(pair.device)
    boxes = torch.rand(1, queries, 4, generator=generator).to(pair.device)
    labels, size = [f"label {index}" for index in range(20)], torch.tensor([[480, 640]])
    processor = transformers.OwlViTImageProcessor()
    postprocess = pipeline_stage("zero_shot_object_detection", "ZeroShotObjectDetectionPipeline", processor, labels)
    runs = [
        {
            "candidate_label": label,
            "target_size": size,
            "logits": logits[..., i : i + 1].contiguous(),
            "pred_boxes": boxes,
        }
        for i, label in enumerate(labels)
    ]
    pair(
        f"zero-shot detection, records of {queries} boxes x 20 labels",
        table=TABLE,
        ours=lambda: vision.detect_every_label(logits, boxes, sizes=size).records(labels)[0],
        rivals={"transformers": lambda: postprocess(runs)},
        data=logits,
        asked=[at_least(5, "transformers")],
        same=close,
        memory=("ours",),
        readme="zero-shot detections, 20 labels, records" if queries == 576 else "",
    )


@pytest.mark.parametrize(("classes", "factor"), [(1000, 25), (21_841, 120)])
def bench_image_classification(pair, classes, factor):
    logits = torch.randn(8, classes, generator=torch.Generator().manual_seed(0)).mul_(3).to(pair.device)
    labels = [f"label {index}" for index in range(classes)]
    postprocess = pipeline_stage("image_classification", "ImageClassificationPipeline", None, labels)
    pair(
        f"image classification, the best 5 of {classes:,} labels, 8 images",
        table=TABLE,
        ours=lambda: classify(logits, top_k=5).records(labels),
        rivals={"transformers": lambda: [postprocess({"logits": row[None]}) for row in logits.cpu()]},
        data=logits,
        asked=[at_least(factor, "transformers")],
        same=close,
        memory=("ours",),
        readme="the best 5 of 1,000 labels, 8 images" if classes == 1000 else "",
    )


@pytest.mark.parametrize("regions", [10, 0], ids=["regions", "noise"])
@pytest.mark.parametrize(("edge", "factor"), [(512, 2), (1024, 6)])
def bench_semantic(pair, edge, factor, regions):
    outputs = workloads.on(pair.device, workloads.class_planes(150, 128, 128, regions=regions))
    processor, sizes = transformers.SegformerImageProcessor(), [(edge, edge)]
    pair(
        f"semantic map, 150 classes to {edge} x {edge}, {'regions' if regions else 'noise'}",
        table=TABLE,
        ours=lambda: vision.semantic_maps(outputs.logits, sizes=sizes),
        rivals={"transformers": lambda: processor.post_process_semantic_segmentation(outputs, sizes)},
        data=outputs.logits,
        asked=[at_least(factor if regions else 0.95, "transformers")],
        memory=("ours",),
        readme="class map of 1024 x 1024, 150 classes" if edge == 1024 and regions else "",
    )


@pytest.mark.full
def bench_semantic_12_megapixels(pair):
    outputs = workloads.on(pair.device, workloads.class_planes(150, 128, 128))
    processor, sizes = transformers.SegformerImageProcessor(), [(3000, 4000)]
    half_a_gigabyte = 0.5e9 / (outputs.logits.numel() * 4)
    pair(
        "semantic map, 150 classes to 12 megapixels",
        table=TABLE,
        ours=lambda: vision.semantic_maps(outputs.logits, sizes=sizes),
        rivals={"transformers": lambda: processor.post_process_semantic_segmentation(outputs, sizes)},
        data=outputs.logits,
        asked=[at_least(4, "transformers"), memory_at_most(half_a_gigabyte)],
        memory=("ours", "transformers"),
        rounds=3,
        readme="class map of 12 megapixels, 150 classes",
    )


@pytest.mark.cpu_only
def bench_map_to_masks(pair):
    from PIL import Image

    outputs = workloads.class_planes(10, 34, 60)
    segmentation = vision.semantic_maps(outputs.logits, sizes=[HD])[0]
    labels = [f"label {index}" for index in range(10)]
    processor = SimpleNamespace(post_process_semantic_segmentation=lambda *a, **k: [segmentation])
    postprocess = pipeline_stage("image_segmentation", "ImageSegmentationPipeline", processor, labels)

    def ours():
        ids, masks = vision.id_masks(segmentation)
        return [
            {"score": None, "label": labels[i], "mask": Image.fromarray(mask)}
            for i, mask in zip(ids.tolist(), masks.numpy(), strict=True)
        ]

    pair(
        "semantic map to masks as pictures, 1920 x 1080, 10 labels",
        table=TABLE,
        ours=ours,
        rivals={"transformers": lambda: postprocess({"target_size": [HD]}, subtask="semantic")},
        data=segmentation,
        asked=[at_least(5, "transformers")],
        same=lambda ours, theirs: require_same(pixels_of(ours), pixels_of(theirs)),
        memory=("ours",),
    )


def pixels_of(records):
    return [{**record, "mask": np.asarray(record["mask"])} for record in records]


@pytest.mark.parametrize("size", [(480, 640), HD], ids=["480 x 640", "1080 x 1920"])
def bench_panoptic(pair, size):
    outputs, processor = (
        workloads.on(pair.device, workloads.queries(100, 133)),
        transformers.Mask2FormerImageProcessor(),
    )
    options = {"threshold": 0.5, "mask_threshold": 0.5}

    def ours():
        found = vision.panoptic_maps(
            outputs.class_queries_logits,
            outputs.masks_queries_logits,
            sizes=[size],
            overlap_threshold=0.5,
            mask_size=(384, 384),
            **options,
        )
        return [segmentation.records() for segmentation in found]

    def library():
        return processor.post_process_panoptic_segmentation(
            outputs, target_sizes=[size], label_ids_to_fuse=set(), overlap_mask_area_threshold=0.5, **options
        )

    pair(
        f"panoptic map, 100 queries x 133 classes, {size[0]} x {size[1]}",
        table=TABLE,
        ours=ours,
        rivals={"transformers": library},
        data=outputs.masks_queries_logits,
        asked=[at_least(6 if size != HD else 3, "transformers")],
        same=close,
        memory=("ours",),
        readme="panoptic map, 480 x 640" if size != HD else "",
    )


@pytest.mark.parametrize("size", [(480, 640), HD], ids=["480 x 640", "1080 x 1920"])
def bench_instances(pair, size):
    outputs, processor = (
        workloads.on(pair.device, workloads.queries(100, 133)),
        transformers.Mask2FormerImageProcessor(),
    )
    theirs = processor.post_process_instance_segmentation

    def ours():
        columns = (outputs.class_queries_logits, outputs.masks_queries_logits)
        found = vision.instance_maps(*columns, sizes=[size], mask_size=(384, 384))
        return [instances.segments.records() for instances in found]

    pair(
        f"instance map, 100 queries x 133 classes, {size[0]} x {size[1]}",
        table=TABLE,
        ours=ours,
        # On the host, where its pipeline has them: it indexes a tensor of the host with the places it finds.
        rivals={"transformers": lambda: theirs(workloads.on(torch.device("cpu"), outputs), target_sizes=[size])},
        data=outputs.masks_queries_logits,
        asked=[at_least(25 if size != HD else 45, "transformers")],
        same=close,
        memory=("ours",),
        readme="instance map, 480 x 640" if size != HD else "",
    )


@pytest.mark.parametrize(("size", "points", "factor"), [((683, 1024), 16, 4), (HD, 8, 2.5)], ids=["683", "1080"])
@pytest.mark.cpu_only
def bench_mask_filter(pair, size, points, factor):
    from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

    logits, scores = workloads.point_masks(points)
    scale = 1024 / max(size)
    seen = (int(size[0] * scale + 0.5), int(size[1] * scale + 0.5))
    processor, whole = SamImageProcessorPil(), torch.tensor([0.0, 0.0, size[1], size[0]])

    def ours():
        found = vision.generate_masks(logits, scores, image_size=size, pad_size=(1024, 1024), input_size=seen)
        return found.runs.records(), found.scores, found.boxes

    def library():
        masks = processor.post_process_masks([logits], [size], [seen], binarize=False)[0]
        return processor.filter_masks(masks, scores, list(size), whole)

    pair(
        f"mask generation, filter of {points} points, {size[0]} x {size[1]}",
        table=TABLE,
        ours=ours,
        rivals={"transformers": library},
        data=logits,
        asked=[at_least(factor, "transformers")],
        memory=("ours", "transformers"),
        readme="masks of 16 points, 683 x 1024" if points == 16 else "",
    )


def smooth_masks(count, size):
    low = torch.randn(1, count, 12, 16, generator=torch.Generator().manual_seed(0))
    return F.interpolate(low, size=size, mode="bicubic")[0] > 0.8


@pytest.mark.cpu_only
def bench_run_lengths(pair):
    from transformers.models.sam import image_processing_pil_sam as library

    masks = smooth_masks(7, (683, 1024))
    pair(
        "run lengths of 7 masks, 683 x 1024",
        table=TABLE,
        ours=lambda: vision.encode_masks(masks).records(),
        rivals={"transformers": lambda: library._mask_to_rle(masks)},
        data=masks,
        asked=[at_least(1, "transformers")],
        memory=("ours",),
    )


@pytest.mark.cpu_only
def bench_masks_of_run_lengths(pair):
    from transformers.models.sam import image_processing_pil_sam as library

    records = vision.encode_masks(smooth_masks(7, (683, 1024))).records()
    pair(
        "7 masks of run lengths, 683 x 1024",
        table=TABLE,
        ours=lambda: [*vision.read_run_lengths(records).decode().numpy()],
        rivals={"transformers": lambda: [library._rle_to_mask(record) for record in records]},
        asked=[at_least(1, "transformers")],
        memory=("ours",),
    )


def bench_suppression(pair):
    """576 boxes that overlap one another, as OWL's patches do; transformers' loop for image-guided detection."""
    outputs = workloads.on(pair.device, workloads.detections(1, 576, 1))
    given = SimpleNamespace(logits=outputs.logits, target_pred_boxes=outputs.pred_boxes)
    processor = transformers.OwlViTImageProcessor()

    def library():
        return [row["boxes"] for row in processor.post_process_image_guided_detection(given)]

    pair(
        "image-guided detection, suppression of 576 boxes",
        table=TABLE,
        ours=lambda: [row["boxes"] for row in vision.detect_image_guided(*vars(outputs).values()).per_image()],
        rivals={"transformers": library},
        data=outputs.logits,
        asked=[at_least(1, "transformers")],
        memory=("ours",),
    )


@pytest.mark.cpu_only
def bench_keypoint_matching(pair):
    generator = torch.Generator().manual_seed(0)
    keypoints = torch.rand(1, 2, 1024, 2, generator=generator)
    outputs = SimpleNamespace(
        keypoints=keypoints,
        mask=torch.ones(1, 2, 1024, dtype=torch.int),
        matches=torch.randperm(1024, generator=generator).expand(1, 2, 1024),
        matching_scores=torch.rand(1, 2, 1024, generator=generator),
    )
    sizes = torch.tensor([[[480, 640], [600, 800]]])
    processor = transformers.SuperGlueImageProcessor()
    postprocess = pipeline_stage("keypoint_matching", "KeypointMatchingPipeline", processor, [])

    def ours():
        columns = (keypoints, outputs.matches[:, 0], outputs.matching_scores[:, 0])
        return vision.match_keypoints(*columns, sizes=sizes, mask=outputs.mask).records()[0]

    pair(
        "keypoint matching, records of 1,024 points",
        table=TABLE,
        ours=ours,
        rivals={"transformers": lambda: postprocess({"model_outputs": outputs, "target_sizes": sizes})},
        data=keypoints,
        asked=[at_least(7, "transformers")],
        same=close,
        memory=("ours",),
        readme="matches of 1,024 points, records",
    )


@pytest.mark.cpu_only
def bench_pose(pair):
    heatmaps = workloads.heatmaps(32)
    boxes = (torch.rand(32, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 200 + 20).tolist()
    processor, outputs = transformers.VitPoseImageProcessor(), SimpleNamespace(heatmaps=heatmaps)
    columns = torch.tensor(boxes, dtype=torch.float64)
    pair(
        "poses of 32 persons",
        table=TABLE,
        ours=lambda: vision.decode_poses(heatmaps, columns, input_size=(256, 192)).records([32]),
        rivals={"transformers": lambda: processor.post_process_pose_estimation(outputs, [boxes])},
        data=heatmaps,
        asked=[at_least(7, "transformers")],
        same=close,
        memory=("ours",),
        readme="poses of 32 persons",
    )


@pytest.mark.cpu_only
def bench_depth(pair):
    from PIL import Image

    depth = F.interpolate(torch.rand(1, 1, 24, 24, generator=torch.Generator().manual_seed(0)), size=384)[0]
    processor = transformers.GLPNImageProcessor()
    postprocess = pipeline_stage("depth_estimation", "DepthEstimationPipeline", processor, [])
    given = Outputs(predicted_depth=depth, target_size=HD)

    def ours():
        maps = vision.depth_maps(depth, sizes=[HD], compat=False)
        return {"predicted_depth": maps[0], "depth": Image.fromarray(vision.depth_pictures(maps)[0].numpy())}

    def same(ours, theirs):
        require_same(*({**record, "depth": np.asarray(record["depth"])} for record in (ours, theirs)))

    pair(
        "depth map and picture, 384 x 384 to 1080 x 1920",
        table=TABLE,
        ours=ours,
        rivals={"transformers": lambda: postprocess(given)},
        data=depth,
        asked=[at_least(1, "transformers")],
        same=same,
        memory=("ours",),
    )


def bench_semantic_of_queries(pair):
    """A matrix product of 100 queries by 133 classes for every pixel, which nothing saves."""
    outputs, processor = (
        workloads.on(pair.device, workloads.queries(100, 133)),
        transformers.Mask2FormerImageProcessor(),
    )
    columns, size = (outputs.class_queries_logits, outputs.masks_queries_logits), [(480, 640)]
    pair(
        "semantic map of 100 queries x 133 classes, 480 x 640",
        table=TABLE,
        ours=lambda: vision.semantic_maps(vision.class_planes(*columns, mask_size=(384, 384)), sizes=size),
        rivals={"transformers": lambda: processor.post_process_semantic_segmentation(outputs, size)},
        data=outputs.masks_queries_logits,
        asked=[at_least(1, "transformers")],
        memory=("ours",),
    )
