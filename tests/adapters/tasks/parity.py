"""The same call of transformers' pipeline and of ours, and what it takes for two answers to be the same."""

import warnings
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from transformers import pipeline as of_transformers
from transformers.utils import logging

from afterlogits.adapters.pipelines import pipeline

TOLERANCE = 1e-6


def same(want: Any, got: Any, where: str = "answer") -> None:
    """Raise AssertionError naming the place where two answers differ; numbers within 1e-6 of the size of 1 or more."""
    if isinstance(want, Mapping):
        assert isinstance(got, Mapping) and list(want) == list(got), f"{where}: {list(want)} != {list(got)}"
        for name in want:
            same(want[name], got[name], f"{where}.{name}")
    elif isinstance(want, list | tuple):
        assert len(want) == len(got), f"{where}: {len(want)} != {len(got)}: {want} {got}"
        for place, (one, other) in enumerate(zip(want, got, strict=True)):
            same(one, other, f"{where}[{place}]")
    elif isinstance(want, np.ndarray | torch.Tensor):
        assert tuple(want.shape) == tuple(got.shape), f"{where}: shapes {want.shape} != {got.shape}"
        np.testing.assert_allclose(np.asarray(got), np.asarray(want), rtol=TOLERANCE, atol=TOLERANCE, err_msg=where)
    elif isinstance(want, float):
        assert abs(want - got) <= 4 * TOLERANCE * max(1.0, abs(want)), f"{where}: {want} != {got}"
    else:
        assert want == got, f"{where}: {want!r} != {got!r}"


def both(
    task: str,
    model: Any,
    parts: Mapping[str, Any],
    inputs: Any,
    *,
    build: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Any, Any]:
    """The answers of transformers and of ours to one call, each from the same state of every random stream."""
    answers = []
    for make in (of_transformers, pipeline):
        torch.manual_seed(0)
        np.random.seed(0)
        given = inputs() if callable(inputs) else deepcopy(inputs)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            logging.set_verbosity_error()
            found = make(task, model=model, **parts, **(build or {}))(given, **deepcopy(options))
            answers.append(
                list(found) if hasattr(found, "__next__") or type(found).__name__ == "PipelineIterator" else found
            )
    return answers[0], answers[1]


def check(task: str, model: Any, parts: Mapping[str, Any], inputs: Any, **options: Any) -> Any:
    """Both answers, which must be the same; ours is returned."""
    want, got = both(task, model, parts, inputs, **options)
    same(want, got)
    return got
