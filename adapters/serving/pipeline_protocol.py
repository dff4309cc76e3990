"""The protocol of the pipelines: ``{"inputs", "parameters"}`` or raw bytes in, the pipeline's answer as JSON out.

What huggingface_hub's InferenceClient sends and reads, of every generation.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..jobs.rows import encode_row
from ..running.task import Task
from ..tasks.table import find_task
from .errors import Refused, invalid
from .grouped_engine import Asked
from .media import checked, kind_of, with_media
from .parameters import check_inputs, read_parameters
from .settings import Limits
from .text_engine import AskedText

# Parameters of text generation that say what to tell of, not what to generate.
_TELLING = ("details", "seed", "best_of", "top_n_tokens", "truncate")
_MOST_NESTED = 200  # lists and objects in one another: a few calls each of whoever walks through them


def read_json(content: bytes) -> Any:
    """A body as JSON. Raises Refused (400) for anything else, NaN, numbers that are no numbers and what is nested too
    deep included."""
    try:
        return _loaded(content)
    except (ValueError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else str(error)
        raise Refused(400, f"body must be JSON: {reason[:200]}") from None


def _loaded(content: bytes) -> Any:
    """JSON of a bounded depth: how deep Python's own parser reads depends on its version and on the stack."""
    value = json.loads(content, parse_constant=_no_constant)
    if content.count(b"[") + content.count(b"{") <= _MOST_NESTED:
        return value
    level: list[Any] = [[value]]
    depth = -1
    while level and depth <= _MOST_NESTED:
        held = (each.values() if isinstance(each, dict) else each for each in level)
        level, depth = [one for each in held for one in each if isinstance(one, list | dict)], depth + 1
    if depth > _MOST_NESTED:
        raise RecursionError
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def read_request(task: Task, content: Any, media_type: str, query: Mapping[str, str], limits: Limits) -> Asked:
    """What a request asks of a task. content: the body, JSON as it was read; media_type: its type; query: parameters
    that came with raw bytes."""
    if media_type != "application/json":
        kind = kind_of(task)
        if kind is None:
            raise Refused(415, f"body must be application/json for {task.name}; got {media_type or 'no type'}")
        body: Any = {"inputs": checked(content, kind), "parameters": {n: _value(v) for n, v in query.items()}}
    else:
        body = content
    if not isinstance(body, Mapping):
        raise invalid(f"body must be an object with inputs; got {type(body).__name__}")
    if task.name == "text-generation":
        return _text(task, body, limits)
    options = read_parameters(task, body, limits)
    seed = _seed(options.pop("seed", None)) if "seeds" in task.forwarded() else None
    inputs = with_media(task, _inputs(task, body, options))
    _check_rows(check_inputs(inputs, limits), options, limits)
    return Asked(inputs, options, seed)


def _inputs(task: Task, body: Mapping[str, Any], options: dict[str, Any]) -> Any:
    if "inputs" not in body or body["inputs"] is None:
        raise invalid("body must have inputs; got " + (", ".join(map(repr, body)) or "an empty object"))
    inputs = body["inputs"]
    if "question" in body and task.name in ("visual-question-answering", "document-question-answering"):
        return {"image": inputs, "question": body["question"]}
    if task.name == "document-question-answering" and isinstance(inputs, Mapping) and "word_boxes" in options:
        return {**inputs, "word_boxes": options.pop("word_boxes")}
    return inputs


def _text(task: Task, body: Mapping[str, Any], limits: Limits) -> AskedText:
    """A request of text generation, by the names of transformers' pipeline or of text-generation-inference."""
    given = body.get("parameters") or {}
    if not isinstance(given, Mapping):
        raise invalid(f"parameters must be an object; got {type(given).__name__}")
    options = read_parameters(task, {"parameters": {n: v for n, v in given.items() if n not in _TELLING}}, limits)
    best_of = _count(given, "best_of", 1, limits.rows)
    top = _count(given, "top_n_tokens", 0, 20)
    if best_of > 1 and body.get("stream"):
        raise invalid("best_of must be 1 for a stream", param="best_of")
    returned = options.pop("num_return_sequences", 1) if options.get("num_beams", 1) == 1 else 1
    if not isinstance(returned, int) or returned < 1:
        raise invalid(f"num_return_sequences must be at least 1; got {returned!r}")
    inputs = with_media(task, _inputs(task, body, options))
    _check_rows(check_inputs(inputs, limits) * max(best_of, returned), options, limits)
    details = bool(given.get("details"))
    return AskedText(
        inputs,
        options,
        _seed(given.get("seed")),
        logprobs=top if details or best_of > 1 or body.get("stream") else None,
        choices=max(best_of, returned),
        truncate=_count(given, "truncate", None, None),
    )


def _check_rows(inputs: int, options: Mapping[str, Any], limits: Limits) -> None:
    each = 1
    for name in ("num_beams", "num_return_sequences"):
        value = options.get(name, 1)
        each = max(each, value if isinstance(value, int) else 1)
    if inputs * each > limits.rows:
        raise invalid(f"inputs times what is made of each must be at most {limits.rows}; got {inputs * each}")


def _count(given: Mapping[str, Any], name: str, least: int | None, most: int | None) -> Any:
    value = given.get(name)
    if value is None:
        return least
    if isinstance(value, bool) or not isinstance(value, int) or value < (least or 1):
        raise invalid(f"{name} must be an integer of at least {least or 1}; got {value!r}", param=name)
    if most is not None and value > most:
        raise invalid(f"{name} must be at most {most}; got {value}", param=name)
    return value


def _seed(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not -(1 << 63) <= value < 1 << 64:
        raise invalid(f"seed must be a whole number of 64 bits; got {value!r}", param="seed")
    return value & ((1 << 63) - 1)


def _value(text: str) -> Any:
    """A parameter of an address: JSON where it is JSON, else the text itself."""
    try:
        return _loaded(text.encode())
    except (ValueError, RecursionError):
        return text


def similarity_request(body: Mapping[str, Any], limits: Limits) -> Asked:
    """The texts of a request for sentence similarity, to be embedded; the first is compared with the others."""
    inputs = body.get("inputs")
    if not isinstance(inputs, Mapping) or not isinstance(inputs.get("source_sentence"), str):
        raise invalid("inputs must have source_sentence and sentences")
    sentences = inputs.get("sentences")
    if not isinstance(sentences, list) or not all(isinstance(each, str) for each in sentences):
        raise invalid("sentences must be a list of texts")
    texts = [inputs["source_sentence"], *sentences]
    check_inputs(texts, replace(limits, rows=limits.rows + 1))
    return Asked(texts, {"pooling": "mean", "normalize": True})


def similarities(vectors: Sequence[Sequence[float]]) -> list[float]:
    """The cosine of the first of some vectors of length 1 with each of the others."""
    first, *others = vectors
    return [math.fsum(a * b for a, b in zip(first, other, strict=True)) for other in others]


def answer_body(task: Task, answer: Any, user_agent: str) -> bytes:
    """The pipeline's answer in JSON, in the nesting that the clients read."""
    return encode_row(_nested(task, answer, user_agent)).rstrip(b"\n")


def _nested(task: Task, answer: Any, user_agent: str) -> Any:
    if task.name == "text-classification":  # a list of labels for every text
        each = [answer] if isinstance(answer, Mapping) or not answer or isinstance(answer[0], Mapping) else answer
        return [labels if isinstance(labels, list) else [labels] for labels in each]
    if task.name == "zero-shot-classification" and "hf_hub/" in user_agent and "hf_hub/0." not in user_agent:
        return _pairs(answer) if isinstance(answer, Mapping) else [_pairs(each) for each in answer]
    return answer


def _pairs(ranking: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"label": label, "score": score} for label, score in zip(ranking["labels"], ranking["scores"], strict=True)]


def binary_answer(task: Task, answer: Any, accept: str) -> tuple[bytes, str] | None:
    """A sound or a picture as itself, where the client takes it so: its bytes and media type."""
    if task.name == "text-to-audio" and isinstance(answer, Mapping) and "application/json" not in accept:
        from ..tasks.audio.results import wav_bytes

        samples = answer["audio"]
        if not isinstance(samples, list):
            return wav_bytes(samples, answer["sampling_rate"]), "audio/wav"
    if "image/png" in accept and "application/json" not in accept:
        picture = answer.get("depth", answer.get("image")) if isinstance(answer, Mapping) else answer
        if hasattr(picture, "save") and hasattr(picture, "getpixel"):
            import io

            held = io.BytesIO()
            picture.save(held, format="PNG")
            return held.getvalue(), "image/png"
    return None


def served_name(name: str) -> str:
    """The name of the task that a path means, aliases included. Raises Refused (404)."""
    try:
        return find_task(name).name
    except (ValueError, TypeError):
        raise Refused(404, f"there is no task {name!r}") from None
