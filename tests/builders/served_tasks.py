"""Every task with a small model, an input as Python has it and as a client sends it, and the options of the call."""

import base64
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import transformers

from afterlogits import pipeline
from afterlogits.adapters.tasks.audio.results import wav_bytes
from tests.builders import audio_models, multimodal_models, text_models, vision_models

V5 = transformers.__version__.startswith("5")
TEXT = "Ada Lovelace lived in London and worked with Charles Babbage."


def png(width: int = 64, height: int = 48, seed: int = 0) -> bytes:
    held = io.BytesIO()
    vision_models.picture(width, height, seed).save(held, "PNG")
    return held.getvalue()


@cache
def wav() -> bytes:
    return wav_bytes(audio_models.noise(1.0, 1), 16_000)


def b64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def of_bytes(value: Any) -> Any:
    """An input of Python's with its bytes as base64, as it stands in JSON."""
    if isinstance(value, bytes):
        return b64(value)
    if isinstance(value, list):
        return [of_bytes(each) for each in value]
    return {name: of_bytes(each) for name, each in value.items()} if isinstance(value, Mapping) else value


@dataclass(frozen=True)
class Case:
    """inputs: what goes in front, bytes for media. options: of the call. parts: of the pipeline, built once."""

    parts: Callable[[], Mapping[str, Any]]
    inputs: Any
    options: Mapping[str, Any] = field(default_factory=dict)
    only_5: bool = False

    @property
    def wire(self) -> Any:
        """The inputs as JSON."""
        return of_bytes(self.inputs)


def shipped() -> Mapping[str, Any]:
    return {}


def vision(name: str) -> Callable[[], Mapping[str, Any]]:
    return lambda: vision_models.parts(name)


def named(build: Callable[[], Any], *names: str) -> Callable[[], Mapping[str, Any]]:
    return lambda: dict(zip(names, build(), strict=True))


def text(task: str) -> Callable[[], Mapping[str, Any]]:
    tokenizer = text_models.wordpiece()
    return lambda: {"model": text_models.tiny_model(task, tokenizer), "tokenizer": tokenizer}


def _speech() -> Mapping[str, Any]:
    model, extractor = audio_models.wav2vec2()
    return {"model": model, "feature_extractor": extractor, "tokenizer": audio_models.ctc_tokenizer()}


def _captions() -> Mapping[str, Any]:
    return dict(zip(("model", "tokenizer", "image_processor"), multimodal_models.blip_captions(), strict=True))


def _tables() -> Mapping[str, Any]:
    from tests.adapters.tasks.text.table_cases import tapas_model, tapas_tokenizer

    return {"model": tapas_model(True), "tokenizer": tapas_tokenizer()}


_PICTURE = png()
_CONTEXT = "Anna Berg is a baker. She lives in Oslo with her brother."
_TABLE = {"name": ["Ada", "Maria"], "age": ["36", "52"]}
_DECISION = {"state": "hello", "questions": {"refund": {"type": "noul", "instructions": "Is a refund requested?"}}}
_SEGMENTS = {"threshold": 0.1}
_FEW = {"max_new_tokens": 8}

CASES: dict[str, Case] = {
    "text-classification": Case(shipped, TEXT, {"top_k": 2}),
    "token-classification": Case(shipped, TEXT, {"aggregation_strategy": "simple"}),
    "question-answering": Case(shipped, {"question": "Where does Anna live?", "context": _CONTEXT}),
    "zero-shot-classification": Case(shipped, TEXT, {"candidate_labels": ["history", "sport"]}),
    "fill-mask": Case(shipped, "The bread was [MASK].", {"top_k": 3}),
    "text-generation": Case(shipped, "The baker", {**_FEW, "do_sample": False}),
    "text2text-generation": Case(shipped, "the cat sees the house", _FEW),
    "summarization": Case(shipped, "The council met on Monday. It talked about the bridge.", _FEW),
    "translation": Case(shipped, "the cat sees the house", _FEW),
    "feature-extraction": Case(shipped, "The bread is fresh."),
    "table-question-answering": Case(_tables, {"query": "how many rivers", "table": _TABLE}),
    "multiple-choice": Case(text("multiple-choice"), {"prompt": "Ada was in", "choices": ["Paris", "the river"]}),
    "next-sentence-prediction": Case(
        text("next-sentence-prediction"), {"text": "Ada works.", "text_pair": "Maria too."}
    ),
    "decision": Case(named(multimodal_models.decider, "model", "tokenizer"), _DECISION, only_5=True),
    "image-classification": Case(vision("vit"), _PICTURE, {"top_k": 2}),
    "image-feature-extraction": Case(vision("vit_features"), _PICTURE),
    "image-segmentation": Case(vision("segformer"), _PICTURE),
    "semantic-segmentation": Case(vision("segformer"), _PICTURE),
    "instance-segmentation": Case(vision("mask2former"), _PICTURE, _SEGMENTS),
    "panoptic-segmentation": Case(vision("mask2former"), _PICTURE, _SEGMENTS),
    "universal-segmentation": Case(vision("mask2former"), _PICTURE, _SEGMENTS),
    "object-detection": Case(vision("yolos"), _PICTURE, {"threshold": 0.1}),
    "depth-estimation": Case(vision("glpn"), _PICTURE),
    "keypoint-detection": Case(vision("superpoint"), _PICTURE),
    "keypoint-matching": Case(vision("superglue"), [_PICTURE, png(seed=1)]),
    "pose-estimation": Case(vision("vitpose"), _PICTURE),
    "mask-generation": Case(vision("sam"), _PICTURE, {"points_per_crop": 4}),
    "image-to-image": Case(vision("swin2sr"), _PICTURE),
    "masked-image-modeling": Case(vision("vit_masked"), _PICTURE),
    "video-classification": Case(shipped, b"film"),
    "zero-shot-image-classification": Case(vision("clip"), _PICTURE, {"candidate_labels": ["cat", "dog"]}),
    "zero-shot-object-detection": Case(
        vision("owlvit"), _PICTURE, {"candidate_labels": ["cat", "dog"], "threshold": 0.4}
    ),
    "grounded-detection": Case(
        vision("grounding_dino"), {"image": _PICTURE, "text": "a cat. a dog."}, {"threshold": 0.1}
    ),
    "image-guided-detection": Case(vision("owlvit"), {"image": _PICTURE, "query_image": png(seed=2)}),
    "image-to-text": Case(_captions, _PICTURE, {"max_new_tokens": 6}),
    "image-text-to-text": Case(
        named(multimodal_models.llava, "model", "processor"),
        {"images": _PICTURE, "text": "<image> the river"},
        _FEW,
        only_5=True,
    ),
    "any-to-any": Case(
        named(multimodal_models.llava, "model", "processor"),
        {"images": _PICTURE, "text": "<image> the river"},
        _FEW,
        only_5=True,
    ),
    "visual-question-answering": Case(
        named(multimodal_models.vilt, "model", "tokenizer", "image_processor"),
        {"image": _PICTURE, "question": "who works"},
        {"top_k": 2},
    ),
    "document-question-answering": Case(
        named(multimodal_models.layoutlm, "model", "tokenizer"),
        {"image": _PICTURE, "question": "what is it", "word_boxes": multimodal_models.word_boxes(8)},
    ),
    "automatic-speech-recognition": Case(_speech, wav()),
    "audio-classification": Case(
        named(audio_models.sound_classifier, "model", "feature_extractor"), wav(), {"top_k": 2}
    ),
    "zero-shot-audio-classification": Case(
        named(audio_models.clap, "model", "tokenizer", "feature_extractor"),
        wav(),
        {"candidate_labels": ["Paris", "river"]},
    ),
    "forced-alignment": Case(_speech, {"audio": wav(), "text": "hello there"}),
    "text-to-audio": Case(named(audio_models.vits, "model", "tokenizer"), "hello there"),
}


def film() -> bytes:
    """A short film as its bytes."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        return Path(vision_models.write_clip(f"{folder}/clip.mp4")).read_bytes()


@cache
def inputs_of(task: str) -> Any:
    return film() if task == "video-classification" else CASES[task].inputs


@cache
def pipe_of(task: str) -> Any:
    """The pipeline of a case, built once."""
    return pipeline(task, device="cpu", **CASES[task].parts())


def cases() -> list[str]:
    """The tasks that run on this version of transformers."""
    return [name for name, case in CASES.items() if V5 or not case.only_5]
