"""Answers do not depend on torch's default device: what is made beside the inputs names its own.

``meta`` stands for a device that holds none of the data: whatever is made there by accident cannot be read or mixed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import afterlogits
from afterlogits import pipeline, sample, top_k_top_p_filtering
from afterlogits.decoding import apply_dry, apply_no_repeat_ngram, apply_repetition_penalty
from afterlogits.postprocess import vision

PACKAGE = Path(afterlogits.__file__).parent
MAKERS = {"arange", "empty", "eye", "full", "linspace", "ones", "rand", "randint", "randn", "tensor", "zeros"}

DRAWS: list[dict[str, Any]] = [
    {},
    {"top_k": 50},
    {"top_p": 0.9},
    {"top_k": 50, "top_p": 0.9},
    {"min_p": 0.01},
    {"typical_p": 0.9},
    {"top_h": 0.5},
    {"xtc_probability": 0.5, "xtc_threshold": 0.01},
    {"mirostat_tau": 3.0},
    {"temperature": 0.0},
    {"temperature": [0.5, 1.0, 2.0]},
]


def same_on_meta(run: Callable[[], Any]) -> None:
    expected = run()
    with torch.device("meta"):  # what set_default_device does, and undone whole by torch 2.4 too
        assert run() == expected


@pytest.mark.parametrize("vocab_size", [37, 5000, 32_000])
@pytest.mark.parametrize("seeds", [None, [1, 2, 3]])
def test_draws(vocab_size: int, seeds: list[int] | None) -> None:
    logits = torch.randn(3, vocab_size, generator=torch.Generator().manual_seed(0))

    def run() -> list[list[int]]:
        generator = None if seeds else torch.Generator(device="cpu").manual_seed(5)
        return [sample(logits * s, seeds=seeds, generator=generator, **o).tolist() for o in DRAWS for s in (0.05, 3)]

    same_on_meta(run)


def test_filters() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, token_ids = torch.randn(3, 500, generator=generator), torch.randint(0, 500, (3, 30), generator=generator)
    same_on_meta(lambda: top_k_top_p_filtering(logits, top_k=5, top_p=0.9).tolist())
    same_on_meta(lambda: apply_repetition_penalty(logits, token_ids, 1.2).tolist())
    same_on_meta(lambda: apply_no_repeat_ngram(logits, token_ids, 2).tolist())
    same_on_meta(lambda: apply_dry(logits, token_ids, 0.8).tolist())


def test_detections_and_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, boxes = torch.randn(2, 30, 10, generator=generator), torch.rand(2, 30, 4, generator=generator)
    masks = torch.randn(2, 30, 12, 16, generator=generator) * 3
    sizes = [(48, 64)] * 2
    same_on_meta(lambda: vision.detect_softmax(logits, boxes, sizes=sizes, threshold=0.1).records())
    same_on_meta(lambda: vision.detect_sigmoid(logits, boxes, sizes=sizes).records())
    same_on_meta(lambda: [found.map.tolist() for found in vision.panoptic_maps(logits, masks, sizes=sizes)])
    same_on_meta(lambda: [found.full_masks().tolist() for found in vision.instance_maps(logits, masks, sizes=sizes)])


@pytest.mark.parametrize(
    ("task", "inputs"),
    [
        ("ner", ["Anna Berg lives in Oslo.", "A film."]),
        ("sentiment-analysis", ["A wonderful film.", "The food was cold and bland."]),
        ("question-answering", {"question": "Who lives in Oslo?", "context": "Anna Berg lives in Oslo."}),
        ("text-generation", "The baker"),
        ("summarization", "The baker lives in Oslo and bakes bread every day of the week."),
    ],
)
def test_tasks(task: str, inputs: Any) -> None:
    """The model is loaded before: transformers refuses to load onto ``meta``."""
    answer = pipeline(task, device="cpu")
    options = {"do_sample": False, "max_new_tokens": 8} if task in ("text-generation", "summarization") else {}
    same_on_meta(lambda: answer(inputs, **options))


@pytest.mark.parametrize("part", ["decoding", "postprocess", "adapters"])
def test_every_tensor_names_its_device(part: str) -> None:
    unnamed = [
        f"{path.relative_to(PACKAGE)}:{call.lineno}"
        for path in sorted((PACKAGE / part).rglob("*.py"))
        if "training" not in path.parts
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and _makes_a_tensor(call.func)
        if not any(keyword.arg in ("device", None) for keyword in call.keywords)
    ]
    assert unnamed == []


def _makes_a_tensor(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr in MAKERS
        and isinstance(function.value, ast.Name)
        and function.value.id == "torch"
    )
