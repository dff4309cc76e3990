"""Donut's generated tags to JSON, and the answer of its document questions."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

OPENING = re.compile("<s_", re.IGNORECASE)
TAG = re.compile(r"<(/?)s_([^>]*)>|<sep/>")
FIRST_TAG = re.compile("<.*?>")
SEPARATOR = "<sep/>"
Json = Any


def tags_to_json(text: str, *, categories: Collection[str] = (), compat: bool = True) -> Json:
    """The structure that ``<s_key>...</s_key>`` and ``<sep/>`` write out.

    text: without the task's own start token. categories: added tokens such as ``<yes/>``, read as "yes".
    compat=True is transformers' ``token2json``: a tag ends at the first closing tag of its name, so equal names at two
    levels are flattened; the last of repeated keys stays; what is never closed becomes text; an empty inner structure
    leaves no key. compat=False balances the tags: repeated keys become a list, what is not closed ends where its parent
    does, closing tags of nothing are dropped, text beside keys is kept as ``text_sequence``.
    >>> tags_to_json("<s_menu><s_nm>latte</s_nm><sep/><s_nm>tea</s_nm></s_menu>")
    {'menu': [{'nm': 'latte'}, {'nm': 'tea'}]}
    """
    if not compat:
        return _balanced(text, categories)
    items, last, rest = _items(text, categories)
    if items:  # a separator at the top makes a list of any length
        return [*items, last] if last else items
    return last or {"text_sequence": rest}


def _items(text: str, categories: Collection[str]) -> tuple[list[dict[str, Json]], dict[str, Json], str]:
    """The items of one level that a ``<sep/>`` ended, the last one, and the text in which no tag was left."""
    items: list[dict[str, Json]] = []
    item: dict[str, Json] = {}
    while text:
        opening = OPENING.search(text)
        stop = text.find(">", opening.start()) if opening else -1
        if opening is None or stop < 0:
            break
        tag, key = text[opening.start() : stop + 1], text[opening.start() + 3 : stop]
        closing = re.search(rf"</s_{re.escape(key)}>", text, re.IGNORECASE)
        if closing is None:
            text = text.replace(tag, "")
            continue
        content = re.search(f"{re.escape(tag)}(.*?){re.escape(closing[0])}", text, re.IGNORECASE | re.DOTALL)
        if content is not None:
            _store(item, key, content[1].strip(), categories)
        # The text goes on after the first closing tag of this name, which may lie before the opening one.
        text = text[text.find(closing[0]) + len(closing[0]) :].strip()
        if text.startswith(SEPARATOR):
            items.append(item)
            item, text = {}, text[len(SEPARATOR) :]
    return items, item, text


def _store(item: dict[str, Json], key: str, content: str, categories: Collection[str]) -> None:
    if "<s_" in content and "</s_" in content:
        items, last, _ = _items(content, categories)
        inner = [*items, last] if last else items
        if inner:
            item[key] = inner if len(inner) > 1 else inner[0]
        return
    leaves = [_leaf(leaf, categories) for leaf in content.split(SEPARATOR)]
    item[key] = leaves if len(leaves) > 1 else leaves[0]


def _leaf(text: str, categories: Collection[str]) -> str:
    text = text.strip()
    return text[1:-2] if text in categories and text.startswith("<") and text.endswith("/>") else text


@dataclass
class _Node:
    """An open tag: its finished items, and the keys and text of the one being read."""

    name: str
    items: list[Json] = field(default_factory=list)
    keys: dict[str, Json] = field(default_factory=dict)
    text: list[str] = field(default_factory=list)

    def add(self, key: str, value: Json) -> None:
        if key not in self.keys:
            self.keys[key] = value
        elif isinstance(self.keys[key], list):
            self.keys[key].append(value)
        else:
            self.keys[key] = [self.keys[key], value]

    def next_item(self, categories: Collection[str]) -> None:
        written = _leaf("".join(self.text), categories)
        if self.keys and written:
            self.add("text_sequence", written)
        self.items.append(self.keys or written)
        self.keys, self.text = {}, []

    def value(self, categories: Collection[str]) -> Json:
        self.next_item(categories)
        return self.items if len(self.items) > 1 else self.items[0]


def _balanced(text: str, categories: Collection[str]) -> Json:
    """Read tags by a stack: every one closes at its end tag, at its parent's end or at the end of the text."""
    open_tags, place = [_Node("")], 0
    for tag in TAG.finditer(text):
        open_tags[-1].text.append(text[place : tag.start()])
        place = tag.end()
        if tag[0] == SEPARATOR:
            open_tags[-1].next_item(categories)
        elif not tag[1]:
            open_tags.append(_Node(tag[2]))
        else:
            _close(open_tags, tag[2], categories)
    open_tags[-1].text.append(text[place:])
    while len(open_tags) > 1:
        _close(open_tags, open_tags[-1].name, categories)
    value = open_tags[0].value(categories)
    return {"text_sequence": value} if isinstance(value, str) else value


def _close(open_tags: list[_Node], name: str, categories: Collection[str]) -> None:
    """Close the innermost open tag of this name and all within it; nothing where there is none."""
    depth = next((i for i in range(len(open_tags) - 1, 0, -1) if open_tags[i].name.lower() == name.lower()), None)
    while depth is not None and len(open_tags) > depth:
        node = open_tags.pop()
        open_tags[-1].add(node.name, node.value(categories))


def donut_answer(
    sequence: str, *, eos_token: str = "</s>", pad_token: str = "<pad>", compat: bool = True
) -> str | None:
    """The answer between ``<s_answer>`` and ``</s_answer>``.

    sequence: the generated text with its special tokens. compat=True: None where the closing tag is missing or the
    answer has a line break, as in transformers; compat=False reads those too.
    >>> donut_answer("<s_docvqa><s_question>who?</s_question><s_answer>Ada</s_answer></s>")
    'Ada'
    """
    text = FIRST_TAG.sub("", sequence.replace(eos_token, "").replace(pad_token, ""), count=1).strip()
    if compat:
        found = re.search("<s_answer>(.*)</s_answer>", text)
    else:
        found = re.search("<s_answer>(.*?)(?:</s_answer>|$)", text, re.DOTALL)
    return found[1].strip() if found else None
