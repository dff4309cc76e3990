"""Captions of pictures, as the image-to-text pipeline of transformers 4.57.6."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...generation.install import generate
from ...media.pictures import weigh_picture
from ...running.batching import Batch, Row, WindowSizes
from ...running.loaded import Loaded
from ...running.options import require
from ...running.task import Prepared, Task
from ...running.tokenising import tokenize
from ...running.views import Texts
from ..text.generating import must_keep_order, version_4_config
from ..vision.images import ImageOptions, Picture, prepare, read_images, read_one

DEFAULTS = {"max_new_tokens": 256}
WINDOWS = WindowSizes(4, 16, 64)


@dataclass(frozen=True)
class ImageToTextOptions(ImageOptions):
    """``prompt``: what the caption begins with, where the model reads one."""

    max_new_tokens: int | None = None
    generate_kwargs: Mapping[str, Any] | None = None
    prompt: str | None = None

    def __post_init__(self) -> None:
        require(
            self.max_new_tokens is None or "max_new_tokens" not in (self.generate_kwargs or {}),
            "max_new_tokens must not be given twice, as an option and in generate_kwargs",
        )
        if self.prompt is not None and not isinstance(self.prompt, str):
            raise ValueError(f"prompt must be a string; got {type(self.prompt).__name__}")


def check(loaded: Loaded, options: ImageToTextOptions) -> ImageToTextOptions:
    require(
        options.prompt is None or loaded.config.model_type != "vision-encoder-decoder",
        "prompt must be None for a vision-encoder-decoder, which takes none",
    )
    return options


def encode(loaded: Loaded, items: Sequence[Picture], options: ImageToTextOptions) -> list[Prepared]:
    prompt = _prompt(loaded, options)
    header = {"header_text": options.prompt} if loaded.config.model_type == "pix2struct" and options.prompt else {}
    prepared = []
    for item in items:
        seen = prepare(loaded.image_processor, [item.image], **header)
        inputs = {**{name: value[0] for name, value in seen.items()}, **prompt}
        name = "pixel_values" if "pixel_values" in inputs else loaded.model.main_input_name
        prepared.append(Prepared([Row(inputs, inputs[name][0].numel())], item))
    return prepared


def _prompt(loaded: Loaded, options: ImageToTextOptions) -> dict[str, Tensor]:
    """What every picture's text begins with, as one row."""
    kind = loaded.config.model_type
    if options.prompt is None or kind == "pix2struct":
        return {}
    if kind == "git":
        ids = tokenize(loaded.tokenizer, options.prompt, add_special_tokens=False)["input_ids"]
        return {"input_ids": torch.tensor([loaded.tokenizer.cls_token_id, *ids], device="cpu")}
    found = tokenize(loaded.tokenizer, options.prompt, return_tensors="pt")
    return {name: value[0] for name, value in found.items()}


def _arguments(loaded: Loaded, options: ImageToTextOptions) -> dict[str, Any]:
    given = dict(options.generate_kwargs or {})
    if options.max_new_tokens is not None:
        given["max_new_tokens"] = options.max_new_tokens
    if "generation_config" not in given:
        given["generation_config"] = version_4_config(loaded, DEFAULTS)
    return given


def forward(loaded: Loaded, batch: Batch, options: ImageToTextOptions) -> list[Tensor]:
    inputs = dict(batch.inputs)
    main = inputs.pop(loaded.model.main_input_name)
    sequences: Tensor = generate(loaded.model, main, **{**inputs, **_arguments(loaded, options)})
    return list(sequences.cpu().view(len(batch.rows), -1, sequences.shape[-1]))


def in_order(loaded: Loaded, options: ImageToTextOptions) -> bool:
    return must_keep_order(loaded, _arguments(loaded, options))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: ImageToTextOptions
) -> list[Any]:
    return [
        Texts({"generated_text": loaded.tokenizer.decode(own.tolist(), skip_special_tokens=True)} for own in rows[0])
        for rows in outputs
    ]


TASK = Task(
    name="image-to-text",
    auto_classes=("AutoModelForImageTextToText", "AutoModelForVision2Seq"),
    options=ImageToTextOptions,
    read=read_images,
    parse=read_one,
    encode=encode,
    forward=forward,
    finish=finish,
    check=check,
    in_order=in_order,
    needs=("tokenizer", "image_processor"),
    unit="pixels",
    window_sizes=WINDOWS,
    weigh=weigh_picture,
)
