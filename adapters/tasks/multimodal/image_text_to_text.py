"""Texts and chats with pictures, as the image-text-to-text pipeline of transformers 5.23."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from ...media.pictures import read_picture, weigh_picture
from ...media.sources import is_web_address, shown
from ...running.batching import Batch, WindowSizes
from ...running.inputs import as_call
from ...running.options import require
from ...running.runner import Call, Loaded, Prepared, Task
from ..text.generating import must_keep_order
from . import prompts
from .chats import is_chat
from .processing_options import processing_options
from .prompts import Prompt, PromptOptions

WINDOWS = WindowSizes(2, 8, 32)


def read(images: Any = None, text: Any = None, **options: Any) -> Call:
    """``pipe(images=..., text=...)``; ``pipe(text=chat)`` or ``pipe(chat)``, or a list of chats; texts alone; dicts
    with ``images`` and ``text``, one, a list (which transformers takes for a broken chat), or a stream."""
    require(images is not None or text is not None, "images or text must be given; got None for both")
    if text is not None and (is_chat(text) or _chats(text)):
        require(images is None, "images must stand in the messages of a chat; got both")
        return _of_chats(text, options)
    if text is None and (is_chat(images) or _chats(images)):
        return _of_chats(images, options)
    if images is not None and text is None:
        require(not _are_pictures(images), "text must be given with images; got None")
        return as_call(images, options)
    if images is None:
        return as_call(text, options)
    return Call([{"images": images, "text": text}], "single", options)


def _chats(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and is_chat(value[0])


def _of_chats(value: Any, options: dict[str, Any]) -> Call:
    return Call([value], "single", options) if is_chat(value) else Call(list(value), "list", options)


def _are_pictures(images: Any) -> bool:
    if isinstance(images, list | tuple):
        return all(_are_pictures(image) for image in images)
    return isinstance(images, np.ndarray | Tensor) or hasattr(images, "convert")


def parse(loaded: Loaded, item: Any, options: PromptOptions) -> Prompt:
    if is_chat(item):
        return allowed_chat(prompts.as_chat(item), options)
    prompts.tell_of_chats(loaded)
    if isinstance(item, str | list | tuple):
        return Prompt(text=item, media={"images": None})
    if not isinstance(item, Mapping):
        raise TypeError(f"item must be a text, a chat or a dict with images and text; got {type(item).__name__}")
    require("text" in item, "item must have a field 'text'; got none")
    pictures = item.get("images", item.get("image"))
    require(pictures is not None, "item must have a field 'images'; got none")
    return Prompt(text=item["text"], media={"images": read_pictures(loaded, pictures, options)})


def read_pictures(loaded: Loaded, pictures: Any, options: PromptOptions) -> Any:
    """Pictures one by one, in the nesting they were given in."""
    if isinstance(pictures, list | tuple):
        return [read_pictures(loaded, each, options) for each in pictures]
    return read_picture(pictures, allow_urls=options.allow_urls, timeout=options.timeout, compat=loaded.compat)


def allowed_chat(prompt: Prompt, options: PromptOptions) -> Prompt:
    """The chat, unless it holds a web address that may not be read."""
    if not options.allow_urls:
        address = next((value for value in _media_of(prompt.messages) if is_web_address(value)), None)
        if address is not None:
            raise ValueError(f"a chat must not hold a web address unless allow_urls=True; got {shown(address)}")
    return prompt


def _media_of(messages: Any) -> Iterable[Any]:
    for message in messages:
        parts = message["content"] if isinstance(message["content"], list | tuple) else ()
        for part in parts:
            if isinstance(part, Mapping) and part.get("type") != "text":
                yield from part.values()


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


def weigh(item: Any) -> int:
    """The pictures of an item; a chat counts as one file."""
    if isinstance(item, Mapping) and item.get("images") is not None:
        return weigh_picture(item["images"])
    return weigh_picture("chat")


TASK = Task(
    name="image-text-to-text",
    auto_classes=("AutoModelForImageTextToText",),
    options=PromptOptions,
    read=read,
    parse=parse,
    encode=prompts.encode,
    forward=forward,
    finish=finish,
    forwarded=processing_options,
    in_order=in_order,
    needs=("processor",),
    unit="samples",
    collate=prompts.collate,
    window_sizes=WINDOWS,
    weigh=weigh,
)
