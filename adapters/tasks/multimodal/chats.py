"""Chats among inputs: a list of messages is one item, a list of such lists several."""

from collections.abc import Mapping
from typing import Any


def is_message(item: Any) -> bool:
    return isinstance(item, Mapping) and "role" in item and "content" in item


def is_chat(item: Any) -> bool:
    """A list of messages, or a ``Chat`` of transformers or a dict that holds one as ``messages``."""
    messages = messages_of(item)
    return isinstance(messages, list | tuple) and len(messages) > 0 and is_message(messages[0])


def messages_of(item: Any) -> Any:
    """The messages that an item holds, or the item itself."""
    held = item.get("messages") if isinstance(item, Mapping) else getattr(item, "messages", None)
    return item if held is None else held


def checked_chat(item: Any) -> list[Any]:
    """The messages of a chat, each of which must be one."""
    messages = list(messages_of(item))
    for place, message in enumerate(messages):
        if not is_message(message):
            raise ValueError(f"every message of a chat must have a role and a content; got {message!r} at {place}")
    return messages
