"""Whole calls of vision tasks over pictures of mixed sizes, against transformers' pipeline and bare model calls."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest
import torch
import transformers

from afterlogits import pipeline
from afterlogits.benchmarks import workloads
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.pairing import at_least, at_most

TABLE = "vision tasks"
pytestmark = pytest.mark.full
SIZES = ((640, 480), (480, 640), (640, 427), (500, 375))
NOTE = "bare: the image processor on each picture, the model on four of one size at a time, and no answer made of it"


def pictures(count):
    """Coarse noise of four common sizes."""
    from PIL import Image

    found = []
    for number in range(count):
        width, height = SIZES[number % len(SIZES)]
        pixels = np.random.default_rng(number).integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8)
        found.append(Image.fromarray(pixels).resize((width, height)))
    return found


def bare(model, processor, images):
    """Nothing but preprocessing and forward passes."""

    @torch.inference_mode()
    def run():
        rows = defaultdict(list)
        for image in images:
            values = processor(images=[image], return_tensors="pt")["pixel_values"]
            rows[tuple(values.shape)].append(values)
        for group in rows.values():
            for first in range(0, len(group), 4):
                model(torch.cat(group[first : first + 4]).to(model.device))

    return run


def both(pair, task, architecture, config, processor):
    """Our pipeline, transformers', the model."""
    model = workloads.from_config(architecture, config)
    options = {"model": model, "image_processor": processor, "device": str(pair.device)}
    return pipeline(task, **options), transformers.pipeline(task, **options), model


def scores_of(answers):
    """Scores alone, sorted: of random weights labels tie, and batches of other shapes break ties otherwise."""
    return [sorted(record["score"] for record in own) for own in answers]


def same_scores(ours, theirs):
    require_same(scores_of(ours), scores_of(theirs), rtol=1e-3)


def same_maps(ours, theirs):
    """Of random weights a few pixels tie: the areas of all labels agree to a thousandth of the picture."""
    for own, other in zip(ours, theirs, strict=True):
        areas = [
            {each["label"]: int(np.count_nonzero(np.asarray(each["mask"]))) for each in side} for side in (own, other)
        ]
        pixels = own[0]["mask"].size[0] * own[0]["mask"].size[1]
        differ = sum(abs(areas[0].get(k, 0) - areas[1].get(k, 0)) for k in areas[0].keys() | areas[1].keys())
        if differ > pixels / 1000:
            raise AssertionError(f"areas differ by {differ} of {pixels} pixels")


def bench_image_classification(pair):
    processor = transformers.ViTImageProcessor()
    config = transformers.ViTConfig(num_labels=1000)
    ours, library, model = both(pair, "image-classification", "ViTForImageClassification", config, processor)
    images = pictures(64)
    pair(
        "image-classification, 64 pictures, ViT-base-like",
        table=TABLE,
        ours=lambda: ours(images),
        rivals={"transformers": lambda: library(images), "transformers, 8": lambda: library(images, batch_size=8)},
        limits={"bare": bare(model, processor, images)},
        asked=[at_least(1.3, "transformers"), at_most(1.1, "bare")],
        same=same_scores,
        rounds=2,
        memory=(),
        note=NOTE,
    )


def bench_object_detection(pair):
    config = transformers.YolosConfig(
        hidden_size=192,
        num_hidden_layers=12,
        num_attention_heads=3,
        intermediate_size=768,
        image_size=[512, 864],
        num_labels=91,
    )
    processor = transformers.YolosImageProcessor(size={"shortest_edge": 512, "longest_edge": 864})
    ours, library, model = both(pair, "object-detection", "YolosForObjectDetection", config, processor)
    images = pictures(64)
    pair(
        "object-detection, 64 pictures of four sizes, YOLOS-tiny-like",
        table=TABLE,
        ours=lambda: ours(images, threshold=0.0),
        rivals={"transformers": lambda: library(images, threshold=0.0)},
        limits={"bare": bare(model, processor, images)},
        asked=[at_least(1.3, "transformers"), at_most(1.1, "bare")],
        same=same_scores,
        rounds=2,
        memory=(),
        note="transformers takes no batch of two sizes here. " + NOTE,
    )


def bench_image_segmentation(pair):
    processor = transformers.SegformerImageProcessor()
    config = transformers.SegformerConfig(num_labels=150)
    ours, library, model = both(pair, "image-segmentation", "SegformerForSemanticSegmentation", config, processor)
    images = pictures(64)
    pair(
        "image-segmentation, 64 pictures, SegFormer-b0-like, 150 classes",
        table=TABLE,
        ours=lambda: ours(images),
        rivals={"transformers": lambda: library(images), "transformers, 8": lambda: library(images, batch_size=8)},
        limits={"bare": bare(model, processor, images)},
        asked=[at_least(1.3, "transformers"), at_most(1.1, "bare")],
        same=same_maps,
        rounds=2,
        memory=(),
        note=NOTE,
    )


def bench_zero_shot_object_detection(pair):
    """OWL-ViT of a third of its depth: transformers runs it once for every label."""
    text = {"hidden_size": 512, "num_hidden_layers": 4, "vocab_size": 30522, "pad_token_id": 0}
    vision = {"hidden_size": 768, "num_hidden_layers": 4, "image_size": 384, "patch_size": 32}
    config = transformers.OwlViTConfig(text_config=text, vision_config=vision)
    processor = transformers.OwlViTImageProcessor(size={"height": 384, "width": 384})
    model = workloads.from_config("OwlViTForObjectDetection", config)
    tokenizer = workloads.wordpiece_tokenizer()
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    tokenizer.model_max_length = 16
    options = {"model": model, "image_processor": processor, "tokenizer": tokenizer, "device": str(pair.device)}
    ours = pipeline("zero-shot-object-detection", **options)
    library = transformers.pipeline("zero-shot-object-detection", **options)
    labels = [f"label {number}" for number in range(20)]
    items = [{"image": image, "candidate_labels": labels} for image in pictures(2)]
    pair(
        "zero-shot-object-detection, 2 pictures x 20 labels, OWL-ViT-like",
        table=TABLE,
        ours=lambda: ours(items, threshold=0.3),
        rivals={"transformers": lambda: library(items, threshold=0.3)},
        asked=[at_least(10, "transformers")],
        same=same_scores,
        rounds=2,
        memory=(),
    )
