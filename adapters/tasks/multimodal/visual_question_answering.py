"""Questions about pictures, as the visual-question-answering pipeline of transformers 4.57.6: by a head over fixed
answers, or generated."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from warnings import warn

import torch
from torch import Tensor

from ....postprocess.multimodal.visual_answers import visual_answers
from ...generation.install import generate
from ...media.pictures import read_picture, weigh_picture
from ...running.batching import Batch, Row, WindowSizes
from ...running.inputs import as_call, field_of, non_empty_text
from ...running.loaded import Loaded
from ...running.options import require, require_count
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import encode_rows, take_logits
from ..text.generating import generate_options, must_keep_order, version_4_config
from ..vision.images import as_image_call, own_or_shared, prepare
from .results import VisualAnswers

DEFAULT_TOP_K = 5
DEFAULTS = {"max_new_tokens": 256}
WINDOWS = WindowSizes(4, 16, 64)


@dataclass(frozen=True)
class VisualQuestionOptions:
    """``question``: asked about every picture that comes without its own, as those of a folder do."""

    top_k: int | None = DEFAULT_TOP_K  # None is that number, as in transformers
    padding: Any = False
    truncation: Any = False
    timeout: float | None = None
    allow_urls: bool = False
    question: str | None = None
    forwarded: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        require_count("top_k", self.top_k, least=0, optional=True)


@dataclass(frozen=True)
class PictureQuestion:
    picture: Any
    question: str


def read(image: Any = None, question: Any = None, **options: Any) -> Call:
    """``pipe(image=..., question=...)``; dicts of both, one, a list, or a stream; a stream of pictures with one
    question. Lists of pictures or of questions give every pair of them, the questions outermost."""
    if question is None:
        require(image is not None, "image and question must be given, or dicts that hold both; got None")
        return as_image_call(image, options)
    if isinstance(image, Iterator) and isinstance(question, str) and not hasattr(image, "read"):
        return as_call(image, {**options, "question": question})
    pictures = list(image) if isinstance(image, list | tuple) or _is_data_set(image) else [image]
    questions = list(question) if isinstance(question, list | tuple) else [question]
    if len(questions) > 1:  # an open file is read once for all of them
        pictures = [one.read() if hasattr(one, "read") else one for one in pictures]
    pairs = [{"image": one, "question": asked} for asked in questions for one in pictures]
    single = pictures == [image] and questions == [question] and not isinstance(image, list | tuple)
    return Call(pairs, "single" if single else "list", options)


def _is_data_set(image: Any) -> bool:
    """A column of a data set, such as transformers' KeyDataset; a picture has a size, an array a shape."""
    sized = hasattr(image, "__getitem__") and hasattr(image, "__len__")
    return sized and not isinstance(image, str | bytes | Mapping) and not hasattr(image, "shape")


def parse(loaded: Loaded, item: Any, options: VisualQuestionOptions) -> PictureQuestion:
    if not isinstance(item, Mapping):
        if options.question is None:
            raise TypeError(f"item must be a dict with image and question; got {type(item).__name__}")
        item = {"image": item}
    require(loaded.compat or options.top_k != 0, "top_k must be at least 1; got 0")
    question = non_empty_text("question", own_or_shared(item, "question", options.question))
    picture = read_picture(
        field_of(item, "image"), allow_urls=options.allow_urls, timeout=options.timeout, compat=loaded.compat
    )
    return PictureQuestion(picture, question)


def encode(loaded: Loaded, items: Sequence[PictureQuestion], options: VisualQuestionOptions) -> list[Prepared]:
    """The questions in one call of the tokenizer; pictures one by one, none padded for another."""
    texts = encode_rows(
        loaded.tokenizer,
        [item.question for item in items],
        padding=False if options.padding is None else options.padding,
        truncation=options.truncation,
    )
    prepared = []
    for item, text in zip(items, texts, strict=True):
        seen = prepare(loaded.image_processor, [item.picture])
        pictures = {name: value[0] for name, value in seen.items()}
        values = pictures["pixel_values"]
        inputs = {**text.inputs, **pictures}
        # A generated answer's prompt takes no padding; a head reads padded questions through their mask.
        group = text.length if loaded.model.can_generate() else None
        prepared.append(Prepared([Row(inputs, values[0].numel(), None, {}, group)], item))
    return prepared


def forward(loaded: Loaded, batch: Batch, options: VisualQuestionOptions) -> Reading:
    """Per row its best answers as records, or the tokens of its answer."""
    if not loaded.model.can_generate():
        logits = yield from take_logits(loaded.model(**batch.inputs))
        names = [loaded.config.id2label[index] for index in range(logits.shape[1])]
        top_k = DEFAULT_TOP_K if options.top_k is None else options.top_k
        return visual_answers(logits, top_k=top_k).records(names) if top_k else [[] for _ in batch.rows]
    arguments: dict[str, Any] = {**batch.inputs, **_arguments(loaded, options)}
    sequences: Tensor = generate(loaded.model, **arguments)
    return list(sequences.cpu())


def _arguments(loaded: Loaded, options: VisualQuestionOptions) -> dict[str, Any]:
    """The pipeline's configuration of generate: what it was built with counts, what a call names is dropped."""
    given, built = dict(options.forwarded or {}), loaded.constructed
    called = {name: value for name, value in given.items() if name not in built or built[name] is not value}
    config = version_4_config(loaded, DEFAULTS)
    if called and loaded.compat:
        warn(
            f"transformers drops {', '.join(called)} of a call, and so does compat=True: give it at construction",
            UserWarning,
            stacklevel=2,
        )
        called = {}
    config.update(**{name: value for name, value in called.items() if hasattr(config, name)})
    return {"generation_config": config, **{name: v for name, v in called.items() if not hasattr(config, name)}}


def in_order(loaded: Loaded, options: VisualQuestionOptions) -> bool:
    return bool(loaded.model.can_generate()) and must_keep_order(loaded, _arguments(loaded, options))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: VisualQuestionOptions
) -> list[Any]:
    finished = []
    for item, rows in zip(items, outputs, strict=True):
        found = rows[0]
        if isinstance(found, torch.Tensor):
            answer = loaded.tokenizer.decode(found.tolist(), skip_special_tokens=True).strip()
            found = [{"answer": answer}]
        answers = VisualAnswers(found)
        answers.question, answers.picture = item.facts.question, item.facts.picture
        finished.append(answers)
    return finished


def _weigh(item: Any) -> int:
    return weigh_picture(item.get("image")) if isinstance(item, Mapping) else weigh_picture(item)


TASK = Task(
    name="visual-question-answering",
    aliases=("vqa",),
    auto_classes=("AutoModelForVisualQuestionAnswering",),
    options=VisualQuestionOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    forwarded=lambda: generate_options() - {"top_k"},
    in_order=in_order,
    needs=("tokenizer", "image_processor"),
    unit="pixels",
    window_sizes=WINDOWS,
    weigh=_weigh,
)
