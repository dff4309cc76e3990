"""Every task on a device: the CPU's answers, and how often a batch waits beside what its model and transformers do."""

import copy
import io
import random
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.attention import SDPBackend, sdpa_kernel

from afterlogits.adapters import pipeline
from afterlogits.adapters.running import passes, window_run
from tests.adapters.tasks.parity import same
from tests.adapters.tasks.text.table_cases import tapas_model, tapas_tokenizer
from tests.builders import served_tasks, text_models, vision_models
from tests.pretend_cuda.counts import Counts
from tests.pretend_cuda.device import PretendEvent, on_device, pretend_cuda
from tests.pretend_cuda.test_postprocess import twins_for_kernels
from tests.programs import audio_pipeline_parity as audio
from tests.programs import vision_pipeline_parity as vision

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = ["Ada Lovelace works for Acme Inc.", "Paris was near New York City and London", "the river in Berlin", "Maria"]
MASKED = ["Paris was [MASK] London", "the [MASK] in [MASK] near", "[MASK] works", "Ada [MASK] Acme"]
QUESTIONS = [{"question": "where was Ada", "context": text} for text in TEXTS]
TABLE = {"city": ["Paris", "Berlin", "London"], "year": ["3", "14", "15"]}
BERT = ("text-classification", "token-classification", "question-answering", "fill-mask", "feature-extraction")
# Task, what its inputs are, options of the call.
TEXT: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "text-classification": ("text-classification", TEXTS, {}),
    "text-classification, all": ("text-classification", TEXTS, {"top_k": None}),
    "token-classification": ("token-classification", TEXTS, {}),
    "token-classification, grouped": ("token-classification", TEXTS, {"aggregation_strategy": "average"}),
    "question-answering": ("question-answering", QUESTIONS, {"top_k": 2}),
    "fill-mask": ("fill-mask", MASKED, {"top_k": 3}),
    "feature-extraction": ("feature-extraction", TEXTS, {}),
    "zero-shot-classification": ("zero-shot-classification", TEXTS, {"candidate_labels": ["city", "a person"]}),
    "text-generation": ("text-generation", TEXTS, {"max_new_tokens": 5, "do_sample": False}),
    "text2text-generation": ("text2text-generation", TEXTS, {"max_new_tokens": 5}),
    "table-question-answering": (
        "table-question-answering",
        [
            {"table": TABLE, "query": query}
            for query in ("how many rivers", "what city is in", "total age", "sum of year")
        ],
        {},
    ),
}


def text_parts(task: str) -> tuple[Any, Any]:
    """A tiny model of a text task and its tokenizer."""
    tokenizer = text_models.wordpiece()
    if task == "table-question-answering":
        return tapas_model(True), tapas_tokenizer()
    if task == "zero-shot-classification":
        labels = ("contradiction", "neutral", "entailment")
        return text_models.tiny_model("text-classification", tokenizer, labels=labels), tokenizer
    if task == "text-generation":
        return text_models.tiny_decoder(tokenizer), tokenizer
    if task == "text2text-generation":
        return text_models.tiny_seq2seq(tokenizer), tokenizer
    return text_models.tiny_model(task, tokenizer), tokenizer


def answered(pipe: Any, items: Any, options: dict[str, Any]) -> Any:
    """What a pipeline gives for these items, its random streams at their start."""
    torch.manual_seed(0)
    np.random.seed(0)
    found = pipe(copy.deepcopy(items), **copy.deepcopy(options))
    return list(found) if hasattr(found, "__next__") else found


def own_waits(counts: Counts) -> Counter[str]:
    """The waits that this package asks for itself, by line: others' lines are the model's.

    The copies that tasks wait for late are among them; the flags that loops read a step late are not.
    """
    own: Counter[str] = Counter()
    for (kind, where), times in counts.where.items():
        if where.startswith(("adapters/", "decoding/", "postprocess/")):
            own[f"{kind}: {where}"] += times
    for where, times in counts.late_where.items():
        if where.startswith("postprocess/"):
            own[f"late copy: {where}"] += times
    return own


def compare(
    task: str,
    model: Any,
    parts: dict[str, Any],
    items: list[Any],
    options: dict[str, Any],
    equal: Callable[[Any, Any], None],
    name: str = "",
    **built: Any,
) -> float:
    """Hold the device's answers to the CPU's, and a batch to its number of waits, which is returned.

    The number is the difference between calls of four and of two items, over that of their batches if these differ.
    """
    call = {**options, "batch_size": 2}
    with sdpa_kernel(SDPBackend.MATH):  # what attention without a kernel of a device's own does
        expected = answered(pipeline(task, model=model, **parts, **built, device="cpu"), items, call)
        with pretend_cuda() as counts:
            pipe = pipeline(task, model=on_device(model), **parts, **built, device="cuda:0")
            equal(expected, answered(pipe, items, call))
            waits, batches = [], []
            for some in (items[:2], items[:4]):
                counts.reset()
                # A late copy counts, whether or not something else has been waited for since.
                late = mock.patch.object(PretendEvent, "query", lambda event: False)
                forward = mock.Mock(wraps=passes.launch)  # of a window's batches, and of an item that comes alone
                with (
                    late,
                    mock.patch.object(window_run, "launch", forward),
                    mock.patch.object(passes, "launch", forward),
                ):
                    answered(pipe, some, call)
                waits.append(own_waits(counts))
                batches.append(forward.call_count)
    before, after = (each.total() for each in waits)
    further = waits[1] - waits[0]
    further_batches = batches[1] - batches[0]  # none where pictures of as many sizes are drawn
    each = (after - before) / further_batches if further_batches else after / batches[1]
    assert each <= MOST.get(name or task, 1), further
    return each


# A batch waits once: its answers are read, when the next batch has been launched. These wait more often.
MOST: dict[str, float] = {}
# Whose maps triton's kernel makes.
KERNELS = ("maskformer", "mask2former", "detr_segmentation")
# torch runs an LSTM on CUDA by one operation that has no form for the host.
LSTM = ("parakeet, tdt", "parakeet, rnn-t")


@pytest.mark.parametrize("name", TEXT)
def test_text_tasks(name: str) -> None:
    """Answers equal to the last bit of their scores, one wait a batch."""
    task, items, options = TEXT[name]
    model, tokenizer = text_parts(task)
    compare(task, model, {"tokenizer": tokenizer}, items, options, same)


def _equal_pictures(want: Any, got: Any) -> None:
    assert len(want) == len(got)
    for one, other in zip(want, got, strict=True):
        assert vision.equal(one, other, 1e-5), f"{one!r:.300}\n{other!r:.300}"


@pytest.mark.parametrize(
    ("task", "name"), [(task, name) for task in vision.TASKS for name in vision.CASES[task]], ids=str
)
def test_vision_tasks(task: str, name: str, tmp_path: Any) -> None:
    """Labels, boxes, masks, maps and points."""
    drawn = random.Random(name)
    options = dict(vision.CASES[task][name][0])
    if task.startswith("zero-shot"):
        options = {"candidate_labels": vision.LABELS, **options}
    items = [vision.draw_item(task, drawn, str(tmp_path)) for _ in range(4)]
    if task == "zero-shot-object-detection":
        labels = options.pop("candidate_labels")
        items = [{"image": item, "candidate_labels": labels} for item in items]
    parts = dict(vision_models.parts(name))
    if name == "eomt":
        # Planes so large that torch's last bits on the host do not depend on how many others a call resizes: slots
        # hold other planes than the stack, and the maps of a random model are full of near ties.
        torch.manual_seed(0)
        parts = vision_models.eomt(80)
        parts["model"].eval()
        items = [vision_models.picture(80, 96, seed) for seed in range(4)]
    compare(task, parts.pop("model"), parts, items, options, _equal_pictures, name)


@pytest.mark.parametrize("name", KERNELS)
def test_segmentation_by_kernels(name: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once a batch, with the twin in the place of triton's kernel."""
    asked = twins_for_kernels(monkeypatch)
    test_vision_tasks("image-segmentation", name, tmp_path)
    assert asked


HEARD = [key for key in audio.RUN if "long form" not in key[1] and key[1] not in LSTM]


@pytest.mark.parametrize("key", HEARD, ids=" ".join)
def test_audio_and_multimodal_tasks(key: tuple[str, str]) -> None:
    """Texts, times, labels, waveforms, spans and decisions."""
    build, draw, choices = audio.CASES[key]
    drawn = random.Random(" ".join(key))
    options = dict(choices[0])
    built = options.pop("build", {})
    if key[1] != "whisper":
        draw = audio.a_mono_sound if draw is audio.a_sound else draw
    items = [draw(drawn) for _ in range(4)]
    model, parts = build(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compare(key[0], model, parts, items, options, same, " ".join(key), **built)


def _alike(want: Any, got: Any) -> None:
    """The same records, numbers in them to within rounding."""
    if isinstance(want, dict):
        assert want.keys() == got.keys()
        for name, value in want.items():
            _alike(value, got[name])
    elif isinstance(want, list | tuple):
        assert len(want) == len(got)
        for one, other in zip(want, got, strict=True):
            _alike(one, other)
    elif isinstance(want, torch.Tensor | np.ndarray | float) or hasattr(want, "getpixel"):
        torch.testing.assert_close(*(torch.as_tensor(np.array(each)) for each in (got, want)), rtol=1e-4, atol=1e-4)
    else:
        assert want == got


FURTHER = (
    "multiple-choice",
    "next-sentence-prediction",
    "instance-segmentation",
    "panoptic-segmentation",
    "keypoint-detection",
    "pose-estimation",
    "mask-generation",
    "image-to-image",
    "masked-image-modeling",
    "grounded-detection",
    "image-guided-detection",
    "visual-question-answering",
    "forced-alignment",
)


@pytest.mark.parametrize("task", FURTHER)
def test_tasks_of_this_package(task: str) -> None:
    """Those that transformers has no pipeline for, and further models of some that it has."""
    case = served_tasks.CASES[task]
    parts = dict(case.parts())
    compare(task, parts.pop("model"), parts, [_opened(case.inputs) for _ in range(4)], dict(case.options), _alike)


def _opened(value: Any) -> Any:
    """An input with its encoded pictures as pictures."""
    if isinstance(value, dict):
        return {name: _opened(each) for name, each in value.items()}
    return Image.open(io.BytesIO(value)) if isinstance(value, bytes) and value[1:4] == b"PNG" else value
