"""Texts and chats with pictures, sounds and videos, as the any-to-any pipeline of transformers 5.23: answers are texts,
pictures or sounds."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor

from ...media.sounds import read_sound
from ...running.batching import Batch
from ...running.inputs import as_call
from ...running.loaded import Loaded
from ...running.options import require, require_choice
from ...running.task import Call, Prepared
from ...running.views import Texts
from ..text.generating import must_keep_order
from . import prompts
from .chat_items import chat_or_text, chat_task, chats_call, read_pictures
from .prompts import Prompt, PromptOptions

MEDIA = ("images", "videos", "audio")


@dataclass(frozen=True)
class AnyToAnyOptions(PromptOptions):
    """``generation_mode``: "text", "image" or "audio", what the model is to make."""

    generation_mode: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("generation_mode", self.generation_mode, (None, "text", "image", "audio"))
        require(
            self.generation_mode in (None, "text") or not self._says_what_text,
            f"return_type must be None for generation_mode={self.generation_mode!r}",
        )

    @property
    def _says_what_text(self) -> bool:
        return any(value is not None for value in (self.return_type, self.return_full_text, self.return_tensors))


def read(text: Any = None, images: Any = None, videos: Any = None, audio: Any = None, **options: Any) -> Call:
    """``pipe(text=..., images=..., audio=..., videos=...)``; a chat or a list of chats; dicts with these fields, one, a
    list, or a stream."""
    require(text is not None or images is not None, "text or images must be given; got None for both")
    chats = chats_call(text, options)
    if chats is not None:
        return chats
    of_texts = isinstance(text, list | tuple) and len(text) > 0 and isinstance(text[0], str)
    if text is not None and not isinstance(text, str) and not of_texts:
        return as_call(text, options)
    given = dict(zip(MEDIA, (images, videos, audio), strict=True))
    return Call([{"text": text, **given}], "single", options)


def parse(loaded: Loaded, item: Any, options: AnyToAnyOptions) -> Prompt:
    prompt = chat_or_text(loaded, item, options, fields="text")
    if prompt is not None:
        return prompt
    media = {name: value for name, value in item.items() if name != "text"}
    if media.get("images") is not None:
        media["images"] = read_pictures(loaded, media["images"], options)
    extractor = getattr(loaded.processor, "feature_extractor", None)
    if media.get("audio") is not None and extractor is not None:
        media["audio"] = _read_sounds(loaded, media["audio"], extractor.sampling_rate, options)
    return Prompt(text=prompts.checked_text(item["text"]), media=media)


def _read_sounds(loaded: Loaded, sounds: Any, rate: int, options: AnyToAnyOptions) -> Any:
    if isinstance(sounds, list | tuple):
        return [_read_sounds(loaded, each, rate, options) for each in sounds]
    urls, wait = options.allow_urls, options.timeout
    return read_sound(sounds, rate, allow_urls=urls, timeout=wait, compat=loaded.compat).samples


def check(loaded: Loaded, options: AnyToAnyOptions) -> AnyToAnyOptions:
    makes = tuple(getattr(loaded.model, "output_modalities", ("text",)))
    if options.generation_mode is not None:
        require_choice("generation_mode", options.generation_mode, makes)
    return options


def _arguments(loaded: Loaded, options: AnyToAnyOptions) -> dict[str, Any]:
    given = prompts.arguments(loaded, options)
    if options.generation_mode not in (None, "text"):
        given["generation_mode"] = options.generation_mode
    of_omni = re.search(r"qwen\domni", type(loaded.model).__name__.lower())
    if options.processing.get("load_audio_from_video") and of_omni:
        given["use_audio_in_video"] = True  # so that the places of sound and picture agree
    return given


def forward(loaded: Loaded, batch: Batch, options: AnyToAnyOptions) -> Sequence[Any]:
    return prompts.forward(loaded, batch, _arguments(loaded, options))


def in_order(loaded: Loaded, options: AnyToAnyOptions) -> bool:
    return must_keep_order(loaded, _arguments(loaded, options))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: AnyToAnyOptions
) -> list[Any]:
    results = []
    for item, rows in zip(items, outputs, strict=True):
        mode, found = options.generation_mode or "text", rows[0]
        if mode == "text":
            write = partial(loaded.processor.post_process_multimodal_output, generation_mode=options.generation_mode)
            results.append(prompts.records(loaded, item, found, options, write, options.kind))
        else:
            results.append(_made(loaded, item, found, options, mode))
    return results


def _made(loaded: Loaded, item: Prepared, found: Any, options: AnyToAnyOptions, mode: str) -> Any:
    """Pictures or sounds that were made, with the inputs they were made from."""
    if mode == "image" and hasattr(loaded.model, "decode_image_tokens"):
        found = loaded.model.decode_image_tokens(found.to(loaded.device))
    skip = options.skip_special_tokens is not False
    made = loaded.processor.post_process_multimodal_output(found, skip_special_tokens=skip, generation_mode=mode)
    inputs = item.facts.texts
    each = len(found) // len(inputs) if isinstance(found, Tensor) else 1
    asked = [text for text in inputs for _ in range(each)]
    return Texts({"input_text": text, f"generated_{mode}": value} for text, value in zip(asked, made, strict=False))


TASK = chat_task(
    name="any-to-any",
    auto_classes=("AutoModelForMultimodalLM",),
    options=AnyToAnyOptions,
    read=read,
    parse=parse,
    forward=forward,
    finish=finish,
    check=check,
    in_order=in_order,
)
