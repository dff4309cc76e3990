"""Tasks and loops on a device: the shipped checkpoints' answers against the CPU's, waits, and graphs beside a model."""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import torch

from afterlogits import adapters
from afterlogits.adapters import generate, pipeline
from afterlogits.benchmarks import workloads
from afterlogits.benchmarks.gpu.findings import Check

DEMO = Path(adapters.__file__).parent / "checkpoints"
TEXTS = ["The Resting War began on 16 January 1919 in Cadu.", "It was an excellent story.", "The shop sold 7818 lamps."]


def cases() -> dict[str, tuple[list[Any], dict[str, Any]]]:
    """Tasks with their shipped checkpoints: items and options."""
    questions = json.loads((DEMO / "demo_items.json").read_text(encoding="utf-8"))["questions"]
    asked = [{"question": each["question"], "context": each["context"]} for each in questions[:4]]
    pictures = [str(path) for path in sorted((DEMO / "demo_pictures").glob("*.png"))[:4]]
    return {
        "token-classification": (TEXTS, {"aggregation_strategy": "simple"}),
        "text-classification": (TEXTS, {}),
        "question-answering": (asked, {}),
        "fill-mask": (["The shop sold [MASK] lamps."], {}),
        "text2text-generation": (TEXTS, {"max_new_tokens": 12}),
        "object-detection": (pictures, {}),
        "image-segmentation": (pictures, {"masks": "none"}),
    }


def answers(check: Check) -> None:
    """Each task's answers on the device beside the CPU's, and how often a batch waits beside its model."""
    for task, (items, options) in cases().items():
        items = items * (1 if check.dry else 6)
        try:
            expected = list(pipeline(task, device="cpu")(items, batch_size=4, **options))
            pipe = pipeline(task, device=str(check.device))
            found = _answered(pipe, items, options)
            check.equal(f"{task}, {len(items)} items", _alike(expected, found))
            if check.device.type == "cuda":
                few, many = (_waits(partial(_answered, pipe, items[:count], options)) for count in (8, 16))
                its, ours = ((after - before) / 2 for before, after in zip(few, many, strict=True))
                check.add(f"{task}, waits that torch tells of", f"{ours:g} a batch, and {its:g} of its model's")
        except Exception as error:  # a library that is not here, such as Pillow, costs its tasks alone
            missing = isinstance(error, ImportError)
            check.add(task, f"{type(error).__name__}: {str(error).splitlines()[0]}", "run", None if missing else False)


def _answered(pipe: Any, items: list[Any], options: dict[str, Any]) -> list[Any]:
    return list(pipe(items, batch_size=4, **options))


def _alike(want: Any, got: Any) -> bool:
    """The same records; numbers to within what another processor's sums may differ."""
    if isinstance(want, dict):
        return want.keys() == got.keys() and all(_alike(value, got[name]) for name, value in want.items())
    if isinstance(want, list | tuple):
        return len(want) == len(got) and all(_alike(*pair) for pair in zip(want, got, strict=True))
    if isinstance(want, float):
        return math.isclose(want, got, rel_tol=1e-3, abs_tol=1e-4)
    return bool(want == got)


def _waits(run: Callable[[], Any]) -> tuple[int, int]:
    """How often the host waits inside of operations while this runs, as torch's own check counts it: where lines of
    transformers ask for it, which are the model's, and where others do."""
    run()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    files = [each.filename for each in said if "synchronizing CUDA operation" in str(each.message)]
    theirs = sum("/transformers/" in name for name in files)
    return theirs, len(files) - theirs


LOOPS: dict[str, dict[str, Any]] = {
    "greedy": {},
    "seeds, top-p 0.9": {"do_sample": True, "top_k": 0, "top_p": 0.9, "seeds": [1, 2, 3]},
    "torch's stream, top-k + top-p": {"do_sample": True, "top_k": 50, "top_p": 0.9},
    "repetition penalty": {"repetition_penalty": 1.2},
    "frequency penalty": {"frequency_penalty": 0.3},
    "bad words": {"bad_words_ids": [[5], [6]]},
    "beam 4": {"num_beams": 4},
    "prompt lookup": {"prompt_lookup_num_tokens": 3},
}


def waits_of_loops(check: Check) -> None:
    """Waits of a step of ``generate``: calls of 24 and of 12 tokens, their difference divided by 12."""
    model = workloads.tiny_llama(vocab_size=503 if check.dry else 32_000).to(check.device)
    prompt = workloads.prompts(3, 12, model.config.vocab_size, device=check.device)
    for name, options in LOOPS.items():
        run = partial(generate, model, prompt, pad_token_id=0, **options)
        if check.device.type != "cuda":
            run(max_new_tokens=2)
            check.add(name, "ran")
            continue
        few, many = (_waits(partial(run, max_new_tokens=new)) for new in (12, 24))
        its, ours = ((after - before) / 12 for before, after in zip(few, many, strict=True))
        most = 1 if name in ("beam 4", "prompt lookup") else 0
        check.add(f"waits a step, {name}", f"{ours:.2g}, and {its:.2g} of the model's", f"{most}", ours <= most)


def graphs(on: bool) -> AbstractContextManager[Any]:
    """``AFTERLOGITS_GRAPHS`` for a block."""
    return mock.patch.dict(os.environ, AFTERLOGITS_GRAPHS="on" if on else "off")


def static_cache(check: Check) -> None:
    """A static cache and its compiled forward: tokens of draws by single operations and in a graph, and tokens/s.

    Compiling takes most of the time; nothing comes of it on the CPU.
    """
    model = workloads.tiny_llama(vocab_size=503 if check.dry else 32_000).to(check.device)
    prompt = workloads.prompts(4, 12, model.config.vocab_size, device=check.device)
    new = 4 if check.dry else 48
    common: dict[str, Any] = {"max_new_tokens": new, "pad_token_id": 0, "cache_implementation": "static"}
    if check.dry:
        common["disable_compile"] = True
    drawn: dict[str, dict[str, Any]] = {
        "torch's stream": {"do_sample": True, "top_k": 50, "top_p": 0.9},
        "seeds": {"do_sample": True, "top_k": 50, "top_p": 0.9, "seeds": [1, 2, 3, 4]},
    }
    for name, options in drawn.items():
        runs: dict[str, Callable[[], Any]] = {
            what: partial(generate, model, prompt, **common, **options) for what in ("single operations", "in a graph")
        }
        if "seeds" not in options:
            runs["transformers"] = partial(model.generate, prompt, **common, **options)
        tokens = {}
        for what, run in runs.items():
            with graphs(what == "in a graph"):
                tokens[what], rate = _timed(check, run, 4 * new)
            check.add(f"static cache, {name}, {what}", f"{rate:.0f} tokens/s")
        first = tokens["single operations"]
        for what, ids in tokens.items():
            check.equal(f"static cache, {name}, {what}", torch.equal(ids, first))


def _timed(check: Check, run: Callable[[], Any], count: int) -> tuple[Any, float]:
    """The tokens of a run after a first one, and how many a second."""
    ids = None
    for _ in range(1 if check.dry else 2):
        torch.manual_seed(3)
        start = time.perf_counter()
        ids = run()
        if check.device.type == "cuda":
            torch.cuda.synchronize()
        seconds = time.perf_counter() - start
    return ids, count / seconds
