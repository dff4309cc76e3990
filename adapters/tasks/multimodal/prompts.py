"""Texts and chats with pictures, sounds and videos: through the model's processor to generate, and back to texts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from warnings import warn

import torch
from torch import Tensor

from ...generation.install import generate
from ...media.sources import shown
from ...running.batching import Batch, Row
from ...running.loaded import Loaded
from ...running.options import require
from ...running.task import Prepared
from ...running.tokenising import tokenize
from ...running.views import Texts
from ..text.generating import run_generate, with_defaults
from ..text.text_generation import return_kind
from .chats import checked_chat

DEFAULTS = {"max_new_tokens": 256}
KINDS = ("tensors", "new_text", "full_text")
# Families whose pictures follow each other along the first axis, so that prompts may share a batch, padded on the left.
_BATCHED = frozenset({"llava"})
_TOKENS = ("input_ids", "attention_mask")


@dataclass(frozen=True)
class Prompt:
    """A chat, or texts with what stands beside them: ``media`` by the processor's names."""

    messages: list[Any] | None = None
    text: Any = None
    media: Mapping[str, Any] = field(default_factory=dict)

    @property
    def texts(self) -> list[Any]:
        """The inputs as they come back in records: one, or several where the text is a list."""
        if self.messages is not None:
            return [self.messages]
        return list(self.text) if isinstance(self.text, list | tuple) else [self.text]


@dataclass(frozen=True)
class PromptOptions:
    max_new_tokens: int | None = None
    generate_kwargs: Mapping[str, Any] | None = None
    timeout: float | None = None
    allow_urls: bool = False
    return_full_text: bool | None = None
    return_tensors: bool | None = None
    return_type: Any = None
    clean_up_tokenization_spaces: bool | None = None
    stop_sequence: Any = None
    continue_final_message: bool | None = None
    skip_special_tokens: bool | None = None
    processor_kwargs: Mapping[str, Any] | None = None
    tools: Any = None
    forwarded: dict[str, Any] = field(default_factory=dict)  # to the processor or the chat template

    def __post_init__(self) -> None:
        require(
            self.max_new_tokens is None or "max_new_tokens" not in (self.generate_kwargs or {}),
            "max_new_tokens must not be given twice, as an option and in generate_kwargs",
        )
        require(
            self.return_type is not None or self.return_full_text is None or self.return_tensors is None,
            "return_full_text and return_tensors must not both be given",
        )

    @property
    def kind(self) -> str:
        """Which of ``KINDS`` is returned."""
        if self.return_type is not None:
            return return_kind(self.return_type, KINDS)
        if self.return_full_text is not None:
            return "full_text" if self.return_full_text else "new_text"
        return "full_text" if self.return_tensors is None else "tensors"

    @property
    def processing(self) -> dict[str, Any]:
        return {**self.forwarded, **({} if self.tools is None else {"tools": self.tools})}


def as_chat(item: Any) -> Prompt:
    """A chat, each of whose messages has a text or a list of parts that say their type."""
    messages = checked_chat(item)
    for place, message in enumerate(messages):
        content = message["content"]
        if not (content is None or isinstance(content, str | list | tuple)):
            raise ValueError(f"content of a message must be a text or a list of parts; got {content!r} at {place}")
        for part in () if content is None or isinstance(content, str) else content:
            if not isinstance(part, Mapping) or "type" not in part:
                raise ValueError(f"every part of a message must be a dict with a type; got {part!r} at {place}")
    return Prompt(messages)


def checked_text(text: Any) -> Any:
    """A text or several of them, as they are."""
    several = isinstance(text, list | tuple) and len(text) > 0
    if not isinstance(text, str) and not (several and all(isinstance(each, str) for each in text)):
        raise ValueError(
            f"item must be a text, texts, or a chat whose messages have a role and a content; got {shown(text)}"
        )
    return text


def continues(prompt: Prompt, options: PromptOptions) -> bool:
    """Whether the model goes on with a chat's last message: by default where the assistant spoke last."""
    if options.continue_final_message is not None:
        return options.continue_final_message
    return prompt.messages is not None and prompt.messages[-1]["role"] == "assistant"


def encode(loaded: Loaded, items: Sequence[Prompt], options: PromptOptions) -> list[Prepared]:
    """A row for each prompt; what the processor makes of it stays together, for its tensors may have any axes."""
    prepared = []
    for item in items:
        inputs = dict(_encoded(loaded, item, options))
        ids = inputs.get("input_ids", inputs.get("decoder_input_ids"))
        length = 1 if ids is None else ids.shape[-1]
        prepared.append(Prepared([Row({}, length, None, {"inputs": inputs}, _group(loaded, inputs))], item))
    return prepared


def _encoded(loaded: Loaded, item: Prompt, options: PromptOptions) -> Mapping[str, Any]:
    """The processor's inputs for a prompt: a chat by its template, else text and pictures as they are."""
    processor, given = loaded.processor, options.processing
    if item.messages is not None:
        going_on = continues(item, options)
        found: Any = processor.apply_chat_template(
            item.messages,
            continue_final_message=going_on,
            add_generation_prompt=not going_on,
            return_tensors="pt",
            tokenize=True,
            return_dict=True,
            processor_kwargs=dict(options.processor_kwargs or {}),
            **given,
        )
    else:
        own = dict(given if options.processor_kwargs is None else options.processor_kwargs)
        if isinstance(item.text, list | tuple) and len(item.text) > 1:
            own.setdefault("padding", True)
        found = tokenize(processor, text=item.text, **item.media, return_tensors="pt", **own)
    cast: Mapping[str, Any] = found.to(dtype=loaded.dtype)
    return cast


def _group(loaded: Loaded, inputs: Mapping[str, Any]) -> Any:
    """Rows of unlike groups never share a batch: those of families that are not known to bear it stay alone."""
    if loaded.config.model_type not in _BATCHED or inputs["input_ids"].shape[0] != 1:
        return object()
    return tuple(sorted((name, tuple(value.shape[1:])) for name, value in inputs.items() if name not in _TOKENS))


def collate(loaded: Loaded, rows: Sequence[Row]) -> dict[str, Any]:
    """One prompt as it is; several with their tokens padded on the left and their pictures one after the other."""
    own = [row.facts["inputs"] for row in rows]
    if len(own) == 1:
        return dict(own[0])
    pads = {"input_ids": loaded.tokenizer.pad_token_id or 0, "attention_mask": 0}
    longest = max(row.length for row in rows)
    batch: dict[str, Any] = {}
    for name in own[0]:
        values = [inputs[name] for inputs in own]
        if name in pads:
            values = [torch.nn.functional.pad(v, (longest - v.shape[1], 0), value=pads[name]) for v in values]
        batch[name] = torch.cat(values)
    return batch


def arguments(loaded: Loaded, options: PromptOptions) -> dict[str, Any]:
    """Keyword arguments of generate: the caller's, and the pipeline's defaults where neither they nor the model say."""
    given = dict(options.generate_kwargs or {})
    if options.max_new_tokens is not None:
        given["max_new_tokens"] = options.max_new_tokens
    if options.stop_sequence is not None:
        stops = options.stop_sequence
        given["stop_strings"] = [stops] if isinstance(stops, str) else list(stops)
        given["tokenizer"] = loaded.tokenizer
    return with_defaults(loaded, given, DEFAULTS)


def forward(loaded: Loaded, batch: Batch, given: Mapping[str, Any]) -> list[Any]:
    """Per prompt the ids of its sequences, without the padding of its neighbours; or what else generate returns."""
    if len(batch.rows) > 1:
        found = run_generate(loaded, batch, given)
        return [torch.tensor(own["sequences"], device="cpu") for own in found]
    both: dict[str, Any] = {**batch.inputs, **given}
    output = generate(loaded.model, **both)
    if isinstance(output, Mapping):
        output = output.get("sequences", output)
    return [output.cpu() if isinstance(output, Tensor) else output]


def records(
    loaded: Loaded, item: Prepared, sequences: Tensor, options: PromptOptions, write: Any, kind: str | None
) -> list[Any]:
    """The records of one prompt. write: ids to texts; kind: one of ``KINDS``, None where texts are left as they are."""
    prompt: Prompt = item.facts
    ids = item.rows[0].facts["inputs"].get("input_ids", item.rows[0].facts["inputs"].get("decoder_input_ids"))
    sequences = sequences.flatten(0, 1) if sequences.dim() == 3 else sequences
    each = len(sequences) // len(prompt.texts)
    inputs = [text for text in prompt.texts for _ in range(each)]
    if kind == "tensors":
        return Texts(
            {"input_text": text, "generated_token_ids": own} for text, own in zip(inputs, sequences, strict=True)
        )
    skip = options.skip_special_tokens is not False
    if getattr(loaded.tokenizer, "response_template", None):
        skip = False
    spaces = options.clean_up_tokenization_spaces
    given = {} if spaces is None else {"clean_up_tokenization_spaces": spaces}
    texts = list(write(sequences, skip_special_tokens=skip, **given))
    if kind is not None:
        asked = [text for text in write(ids, skip_special_tokens=skip, **given) for _ in range(each)]
        texts = [_without(text, own) for text, own in zip(texts, asked, strict=True)]
        if kind == "full_text":
            texts = [
                _after(loaded, prompt, text, new, own, options)
                for text, new, own in zip(inputs, texts, asked, strict=True)
            ]
    return Texts({"input_text": text, "generated_text": new} for text, new in zip(inputs, texts, strict=True))


def _without(text: str, asked: str) -> str:
    """What was generated, without the prompt, where that stands within the first two characters."""
    place = text.find(asked)
    return text[place + len(asked) :] if 0 <= place <= 2 else text


def _after(loaded: Loaded, prompt: Prompt, text: Any, new: str, asked: str, options: PromptOptions) -> Any:
    """The whole text or chat: the prompt and what was generated after it."""
    if isinstance(text, str):
        return text + new
    if prompt.messages is None:
        return new
    messages = prompt.messages
    if continues(prompt, options):
        content = messages[-1]["content"]
        last = {**content[-1], "text": content[-1]["text"] + new}
        return [*messages[:-1], {"role": messages[-1]["role"], "content": [*content[:-1], last]}]
    if getattr(loaded.tokenizer, "response_template", None) is not None:
        return [*messages, loaded.tokenizer.parse_response(new, prefix=asked, tools=options.tools)]
    return [*messages, {"role": "assistant", "content": new}]


def tell_of_chats(loaded: Loaded) -> None:
    """One warning for a model of chats that is given plain texts."""
    if getattr(loaded.processor, "chat_template", None) is not None and "told_of_chats" not in loaded.findings:
        loaded.findings["told_of_chats"] = True
        warn("the model knows chats: give messages with role and content for better answers", UserWarning, stacklevel=2)
