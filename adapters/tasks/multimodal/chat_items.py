"""What the tasks over texts and chats with media share: items that are chats or bare texts, pictures, the ``Task``."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from ...media.pictures import read_picture, weigh_picture
from ...media.sources import is_web_address, shown
from ...running.batching import WindowSizes
from ...running.loaded import Loaded
from ...running.options import require
from ...running.task import Call, Task
from . import prompts
from .chats import is_chat
from .processing_options import processing_options
from .prompts import Prompt, PromptOptions


def chats_call(value: Any, options: dict[str, Any]) -> Call | None:
    """The call of a chat, or of a list of them; None for anything else."""
    if is_chat(value):
        return Call([value], "single", options)
    if isinstance(value, list | tuple) and len(value) > 0 and is_chat(value[0]):
        return Call(list(value), "list", options)
    return None


def chat_or_text(loaded: Loaded, item: Any, options: PromptOptions, *, fields: str, **media: Any) -> Prompt | None:
    """The prompt of a chat, or of bare texts, which come with ``media``; None for a dict with ``fields``, one of which
    is its text."""
    if is_chat(item):
        return _allowed(prompts.as_chat(item), options)
    prompts.tell_of_chats(loaded)
    if isinstance(item, str | list | tuple):
        return Prompt(text=prompts.checked_text(item), media=media)
    if not isinstance(item, Mapping):
        raise TypeError(f"item must be a text, a chat or a dict with {fields}; got {type(item).__name__}")
    require("text" in item, "item must have a field 'text'; got none")
    return None


def _allowed(prompt: Prompt, options: PromptOptions) -> Prompt:
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


def read_pictures(loaded: Loaded, pictures: Any, options: PromptOptions) -> Any:
    """Pictures one by one, in the nesting they were given in."""
    if isinstance(pictures, list | tuple):
        return [read_pictures(loaded, each, options) for each in pictures]
    return read_picture(pictures, allow_urls=options.allow_urls, timeout=options.timeout, compat=loaded.compat)


def weigh(item: Any) -> int:
    """The pictures of an item; a chat counts as one file."""
    if isinstance(item, Mapping) and item.get("images") is not None:
        return weigh_picture(item["images"])
    return weigh_picture("chat")


chat_task = partial(
    Task,
    encode=prompts.encode,
    forwarded=processing_options,
    needs=("processor",),
    unit="samples",
    collate=prompts.collate,
    window_sizes=WindowSizes(2, 8, 32),
    weigh=weigh,
)
"""A ``Task`` of texts and chats with media: batches by how many there are, encoded by one processor for all kinds."""
