"""Texts and chats with pictures, as the image-text-to-text pipeline of transformers 5.23."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from ...running.batching import Batch
from ...running.inputs import as_call
from ...running.loaded import Loaded
from ...running.options import require
from ...running.task import Call, Prepared
from ..text.generating import must_keep_order
from . import prompts
from .chat_items import chat_or_text, chat_task, chats_call, read_pictures
from .prompts import Prompt, PromptOptions


def read(images: Any = None, text: Any = None, **options: Any) -> Call:
    """``pipe(images=..., text=...)``; ``pipe(text=chat)`` or ``pipe(chat)``, or a list of chats; texts alone; dicts
    with ``images`` and ``text``, one, a list (which transformers takes for a broken chat), or a stream."""
    require(images is not None or text is not None, "images or text must be given; got None for both")
    chats = chats_call(images if text is None else text, options)
    if chats is not None:
        require(images is None or text is None, "images must stand in the messages of a chat; got both")
        return chats
    if images is not None and text is None:
        require(not _are_pictures(images), "text must be given with images; got None")
        return as_call(images, options)
    if images is None:
        return as_call(text, options)
    return Call([{"images": images, "text": text}], "single", options)


def _are_pictures(images: Any) -> bool:
    if isinstance(images, list | tuple):
        return all(_are_pictures(image) for image in images)
    return isinstance(images, np.ndarray | Tensor) or hasattr(images, "convert")


def parse(loaded: Loaded, item: Any, options: PromptOptions) -> Prompt:
    prompt = chat_or_text(loaded, item, options, fields="images and text", images=None)
    if prompt is not None:
        return prompt
    pictures = item.get("images", item.get("image"))
    require(pictures is not None, "item must have a field 'images'; got none")
    return Prompt(text=prompts.checked_text(item["text"]), media={"images": read_pictures(loaded, pictures, options)})


def forward(loaded: Loaded, batch: Batch, options: PromptOptions) -> Sequence[Any]:
    given = prompts.arguments(loaded, options)
    return prompts.forward(loaded, batch, {**given, "return_dict_in_generate": False})


def in_order(loaded: Loaded, options: PromptOptions) -> bool:
    return must_keep_order(loaded, prompts.arguments(loaded, options))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: PromptOptions
) -> list[Any]:
    write = partial(loaded.processor.post_process_image_text_to_text)
    return [
        prompts.records(loaded, item, rows[0], options, write, options.kind)
        for item, rows in zip(items, outputs, strict=True)
    ]


TASK = chat_task(
    name="image-text-to-text",
    auto_classes=("AutoModelForImageTextToText",),
    options=PromptOptions,
    read=read,
    parse=parse,
    forward=forward,
    finish=finish,
    in_order=in_order,
)
