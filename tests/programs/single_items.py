"""One short item a call, every task: our pipeline against transformers' own over the same tiny random model.

``python -m tests.programs.single_items [-k WORD] [--seconds N]`` prints a line a task: the time of a call on each side
and the ratio. What a tiny model leaves is what the pipelines themselves take. Both sides are called by turns, a call
each, in one process; the times are medians of process time, the ratios those of the least times and of the medians.
Answers are compared first.
"""

import argparse
import copy
import random
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from typing import Any

import torch
import transformers

from afterlogits import pipeline
from tests.adapters.running.test_pipeline_object import TASKS, build
from tests.adapters.tasks.parity import same
from tests.builders.vision_models import parts, picture
from tests.programs import audio_pipeline_parity as audio
from tests.programs import vision_pipeline_parity as vision

Side = Callable[[], Any]
LABELLED = {"candidate_labels": ["cat", "dog"]}


def text_cases() -> Iterator[tuple[str, Side, Side]]:
    """The tasks over texts that this version of transformers has too."""
    for task, (item, options) in TASKS.items():
        ours = build(task, **options)
        try:
            theirs = transformers.pipeline(
                task, model=ours.model, tokenizer=copy.deepcopy(ours.tokenizer), device="cpu", **options
            )
        except KeyError:
            continue
        yield task, partial(theirs, item), partial(ours, item)


def vision_cases() -> Iterator[tuple[str, Side, Side]]:
    """The tasks over pictures, a model each of the families."""
    for task in vision.TASKS:
        for model in vision.CASES[task]:
            if task in ("video-classification", "keypoint-matching"):
                continue
            options = LABELLED if task.startswith("zero-shot") else {}
            found = {**parts(model), "device": "cpu"}
            theirs, ours = transformers.pipeline(task, **found), pipeline(task, **found)
            yield f"{task}, {model}", partial(theirs, picture(), **options), partial(ours, picture(), **options)


def audio_cases() -> Iterator[tuple[str, Side, Side]]:
    """The tasks over sounds, pages and chats."""
    for key in audio.RUN:
        if key[0] == "decision" or "long form" in key[1]:
            continue
        _, draw, choices = audio.CASES[key]
        options = dict(choices[0])
        theirs, ours = audio.built(key, 0, tuple(options.pop("build", {}).items()))
        item = (audio.a_mono_sound if draw in (audio.a_sound, audio.a_real_sound) else draw)(random.Random(0))
        yield ", ".join(key), partial(_fresh, theirs, item, options), partial(_fresh, ours, item, options)


def _fresh(pipe: Any, item: Any, options: dict[str, Any]) -> Any:
    """transformers takes the fields of an item that is a dict out of it."""
    return pipe(audio.copied(item), **options)


def timed(side: Side) -> float:
    """The process time of one call."""
    start = time.process_time()
    side()
    return time.process_time() - start


def compare(name: str, theirs: Side, ours: Side, seconds: float) -> float:
    """Print the line of a task; returns the ratio of the medians."""
    answers = []
    for side in (theirs, ours):
        torch.manual_seed(0)
        answers.append(side())
    same(*answers)
    cost = timed(theirs) + timed(ours)
    rounds = max(9, min(1000, int(seconds / max(cost, 1e-6))))
    times = [(timed(theirs), timed(ours)) for _ in range(rounds)]
    columns = list(zip(*times, strict=True))
    least, middle = ([how(column) for column in columns] for how in (min, statistics.median))
    ratio = middle[0] / middle[1]
    print(f"{name:60}{middle[0] * 1e6:10.0f}{middle[1] * 1e6:10.0f}{least[0] / least[1]:8.3f}{ratio:8.3f}", flush=True)
    return ratio


def main() -> int:
    """Print the table; 1 if a task is slower here."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", default="", help="only tasks whose line holds the word")
    parser.add_argument("--seconds", type=float, default=1.5, help="for all calls of a task")
    parser.add_argument("--kinds", nargs="*", default=["text", "vision", "audio"])
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    if audio.V5:  # transformers asks for torchvision here, which nothing needs
        import_module("transformers.pipelines.any_to_any").requires_backends = lambda *names: None
    print(f"{'task':60}{'theirs us':>10}{'ours us':>10}{'least':>8}{'median':>8}")
    kinds = {"text": text_cases, "vision": vision_cases, "audio": audio_cases}
    slow = []
    for kind in arguments.kinds:
        for name, theirs, ours in kinds[kind]():
            if arguments.k in name and compare(name, theirs, ours, arguments.seconds) < 1:
                slow.append(name)
    print(f"{len(slow)} slower: {slow}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
