"""The shipped decoder as programs hold it: a model and a tokenizer, fresh for every test that changes them."""

import copy
from functools import cache
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from .matrix import DECODER

PROMPTS = ["The baker", "Last week the", "In the morning they"]


@cache
def _loaded() -> tuple[Any, Any]:
    model = AutoModelForCausalLM.from_pretrained(DECODER, dtype=torch.float32).eval()
    return model, AutoTokenizer.from_pretrained(DECODER, padding_side="left")


def decoder() -> Any:
    """A copy of the model."""
    return copy.deepcopy(_loaded()[0])


def tokenizer() -> Any:
    """A copy of its tokenizer, which pads on the left."""
    return copy.deepcopy(_loaded()[1])


def prompts() -> Any:
    """The prompts, padded."""
    return tokenizer()(PROMPTS, return_tensors="pt", padding=True)
