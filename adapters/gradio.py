"""``interface(pipe)``: a ``gradio.Interface`` for a pipeline of any task of this package.

What ``gradio.Interface.from_pipeline`` does for the pipelines of transformers 4. Needs gradio:
``pip install 'afterlogits[gradio]'``. A form is a row of a table: parts of the input, parts of the answer, and two
functions between them and the pipeline.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .running.extras import need
from .running.pipeline_object import Pipeline

__all__ = ["interface"]


# A component of gradio, its label and its options.
_Part = tuple[str, str, Mapping[str, Any]]


@dataclass(frozen=True)
class _Form:
    """inputs, outputs: (component, label, options). ask: the pipeline and the inputs' values to an answer; show: the
    answer and the values to the outputs' value or values."""

    inputs: Sequence[_Part]
    outputs: Sequence[_Part]
    ask: Callable[..., Any]
    show: Callable[[Any, Sequence[Any]], Any]


def interface(pipe: Pipeline, **options: Any) -> Any:
    """A ``gradio.Interface`` that answers with ``pipe``.

    options: those of ``gradio.Interface`` (title, description, examples, ...). Tasks without a form of their own take
    and give JSON. Raises ImportError where gradio is not installed, TypeError for what is no pipeline of this package.
    """
    if not isinstance(pipe, Pipeline):
        raise TypeError(f"pipe must be a pipeline of afterlogits; got {type(pipe).__name__}")
    gradio = need("gradio", "gradio", "interface")
    form = _FORMS.get(pipe.task, _JSON)

    def answer(*values: Any) -> Any:
        missing = next((label for (_, label, _), value in zip(form.inputs, values, strict=True) if value is None), None)
        if missing is not None:
            raise gradio.Error(f"{missing} must be given")
        try:
            return form.show(form.ask(pipe, *values), values)
        except (ValueError, TypeError) as error:
            raise gradio.Error(str(error)) from error

    def parts(listed: Sequence[_Part]) -> list[Any]:
        return [getattr(gradio, kind)(label=label, **given) for kind, label, given in listed]

    given = {"title": pipe.task, "flagging_mode": "never", "api_name": "predict", **options}
    return gradio.Interface(fn=answer, inputs=parts(form.inputs), outputs=parts(form.outputs), **given)


# What goes in and out, by component.
def _text(label: str, lines: int = 3) -> _Part:
    return "Textbox", label, {"lines": lines}


_PICTURE = ("Image", "picture", {"type": "pil"})
_SOUND = ("Audio", "recording", {"type": "filepath"})
_LABELS: _Part = ("Label", "labels", {})
_ANNOTATED: _Part = ("AnnotatedImage", "found", {})
_DRAWN: _Part = ("Image", "drawn", {})


def _plain(pipe: Pipeline, value: Any) -> Any:
    return pipe(value)


def _split(labels: str) -> list[str]:
    return [label.strip() for label in labels.split(",") if label.strip()]


def _with_labels(pipe: Pipeline, value: Any, labels: str, *more: Any) -> Any:
    given = {"multi_label": bool(more[0])} if more else {}
    return pipe(value, candidate_labels=_split(labels), **given)


# Answers as values of components.
def _first(answer: Any) -> Any:
    while isinstance(answer, list) and answer and isinstance(answer[0], list):
        answer = answer[0]
    return answer


def _scores(answer: Any, values: Sequence[Any]) -> dict[str, float]:
    answer = _first(answer)
    if isinstance(answer, Mapping):
        if "labels" in answer:
            return dict(zip(answer["labels"], answer["scores"], strict=True))
        answer = [answer]
    return {str(each.get("label", each.get("answer"))): float(each.get("score", 1.0)) for each in answer}


def _fillings(answer: Any, values: Sequence[Any]) -> dict[str, float]:
    return {str(each["token_str"]): float(each["score"]) for each in _first(answer)}


def _entities(answer: Any, values: Sequence[Any]) -> dict[str, Any]:
    found = [
        {"entity": each.get("entity_group", each.get("entity")), "start": each["start"], "end": each["end"]}
        for each in answer
    ]
    return {"text": values[0], "entities": found}


def _answer(answer: Any, values: Sequence[Any]) -> tuple[str, float]:
    best = answer[0] if isinstance(answer, list) else answer
    return best["answer"], float(best["score"])


def _texts(answer: Any, values: Sequence[Any]) -> str:
    records = answer if isinstance(answer, list) else [answer]
    records = [each for one in records for each in (one if isinstance(one, list) else [one])]
    return "\n\n".join(str(next(iter(each.values()))) for each in records)


def _boxes(answer: Any, values: Sequence[Any]) -> tuple[Any, list[Any]]:
    marks = []
    for each in answer:
        box = each["box"]
        corners = tuple(int(box[name]) for name in ("xmin", "ymin", "xmax", "ymax"))
        marks.append((corners, f"{each['label']} {each['score']:.2f}"))
    return values[0], marks


def _segments(answer: Any, values: Sequence[Any]) -> tuple[Any, list[Any]]:
    import numpy as np

    return values[0], [(np.asarray(each["mask"]) > 0, str(each["label"])) for each in answer]


def _masks(answer: Any, values: Sequence[Any]) -> tuple[Any, list[Any]]:
    import numpy as np

    return values[0], [(np.asarray(mask) > 0, f"mask {place}") for place, mask in enumerate(answer["masks"])]


def _speech(answer: Any, values: Sequence[Any]) -> tuple[int, Any]:
    import numpy as np

    return int(answer["sampling_rate"]), np.atleast_2d(answer["audio"])[0]


def _table(answer: Any, values: Sequence[Any]) -> tuple[str, Any]:
    return answer["answer"], dict(answer)


def _json(answer: Any, values: Sequence[Any]) -> Any:
    import json

    from .jobs.rows import encode_row

    return json.loads(encode_row(answer))


def _drawn(answer: Any, values: Sequence[Any]) -> Any:
    return answer.draw()


def _pairs(pipe: Pipeline, first: Any, second: Any) -> Any:
    return pipe([first, second])


_LABELS_BOX = _text("labels, with commas between them", 1)
_GENERATED = _Form([_text("text")], [_text("answer", 6)], _plain, _texts)
_CLASSES = _Form([_PICTURE], [_LABELS], _plain, _scores)
_SEGMENTED = _Form([_PICTURE], [_ANNOTATED], _plain, _segments)
_ASKED = _Form(
    [_PICTURE, _text("question", 1)],
    [_LABELS],
    lambda pipe, picture, question: pipe(image=picture, question=question),
    _scores,
)
_JSON = _Form([("JSON", "input", {})], [("JSON", "answer", {})], _plain, _json)

_FORMS: dict[str, _Form] = {
    "text-classification": _Form([_text("text")], [_LABELS], lambda pipe, text: pipe(text, top_k=None), _scores),
    "token-classification": _Form([_text("text")], [("HighlightedText", "entities", {})], _plain, _entities),
    "question-answering": _Form(
        [_text("context", 7), _text("question", 1)],
        [_text("answer", 1), ("Number", "score", {})],
        lambda pipe, context, question: pipe(question=question, context=context),
        _answer,
    ),
    "zero-shot-classification": _Form(
        [_text("text"), _LABELS_BOX, ("Checkbox", "judge every label for itself", {})], [_LABELS], _with_labels, _scores
    ),
    "fill-mask": _Form([_text("text with a mask")], [("Label", "fillings", {})], _plain, _fillings),
    "text-generation": _GENERATED,
    "text2text-generation": _GENERATED,
    "summarization": _GENERATED,
    "translation": _GENERATED,
    "feature-extraction": _Form([_text("text")], [("JSON", "vectors", {})], _plain, _json),
    "table-question-answering": _Form(
        [("JSON", "table: columns by name", {}), _text("question", 1)],
        [_text("answer", 1), ("JSON", "cells", {})],
        lambda pipe, table, question: pipe(table=table, query=question),
        _table,
    ),
    "image-classification": _CLASSES,
    "object-detection": _Form([_PICTURE], [_ANNOTATED], _plain, _boxes),
    **dict.fromkeys(
        (
            *("image-segmentation", "instance-segmentation", "panoptic-segmentation", "semantic-segmentation"),
            "universal-segmentation",
        ),
        _SEGMENTED,
    ),
    "mask-generation": _Form([_PICTURE], [_ANNOTATED], _plain, _masks),
    "depth-estimation": _Form([_PICTURE], [("Image", "depth", {})], _plain, lambda answer, _: answer["depth"]),
    "image-to-image": _Form([_PICTURE], [("Image", "answer", {})], _plain, lambda answer, _: answer),
    "masked-image-modeling": _Form([_PICTURE], [_DRAWN], _plain, _drawn),
    "image-feature-extraction": _Form([_PICTURE], [("JSON", "vectors", {})], _plain, _json),
    "keypoint-detection": _Form([_PICTURE], [_DRAWN], _plain, _drawn),
    "pose-estimation": _Form([_PICTURE], [_DRAWN], _plain, _drawn),
    "keypoint-matching": _Form([_PICTURE, ("Image", "other picture", {"type": "pil"})], [_DRAWN], _pairs, _drawn),
    "image-guided-detection": _Form(
        [_PICTURE, ("Image", "what to look for", {"type": "pil"})],
        [_ANNOTATED],
        lambda pipe, picture, query: pipe(picture, query_image=query),
        _boxes,
    ),
    "grounded-detection": _Form(
        [_PICTURE, _text("what to look for", 1)],
        [_ANNOTATED],
        lambda pipe, picture, text: pipe(picture, text=text),
        _boxes,
    ),
    "zero-shot-image-classification": _Form([_PICTURE, _LABELS_BOX], [_LABELS], _with_labels, _scores),
    "zero-shot-object-detection": _Form([_PICTURE, _LABELS_BOX], [_ANNOTATED], _with_labels, _boxes),
    "image-to-text": _Form([_PICTURE], [_text("answer", 4)], _plain, _texts),
    "image-text-to-text": _Form(
        [_PICTURE, _text("text")],
        [_text("answer", 4)],
        lambda pipe, picture, text: pipe(images=picture, text=text, return_full_text=False),
        lambda answer, _: str(_first(answer)[0]["generated_text"]),
    ),
    "visual-question-answering": _ASKED,
    "document-question-answering": _ASKED,
    "automatic-speech-recognition": _Form([_SOUND], [_text("text", 4)], _plain, lambda answer, _: answer["text"]),
    "audio-classification": _Form([_SOUND], [_LABELS], _plain, _scores),
    "zero-shot-audio-classification": _Form([_SOUND, _LABELS_BOX], [_LABELS], _with_labels, _scores),
    "text-to-audio": _Form([_text("text")], [("Audio", "speech", {})], _plain, _speech),
    "video-classification": _Form([("Video", "film", {})], [_LABELS], _plain, _scores),
}
