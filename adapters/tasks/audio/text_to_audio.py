"""Texts to sound, as the text-to-audio pipeline of transformers 5.23: generation or one pass, then a vocoder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....postprocess.transfers import received, sent
from ...generation.install import generate
from ...media.sources import shown
from ...running.batching import Batch, Row
from ...running.inputs import as_call
from ...running.loaded import Loaded
from ...running.options import require
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from ...running.tokenising import tokenize
from ..multimodal.chats import checked_chat, is_chat
from ..text.generating import with_defaults
from .results import Speech

DEFAULTS = {"max_new_tokens": 256}
# Models that pass every option on to models within them, which have settings of their own.
_NESTED = ("bark", "seamless_m4t", "seamless_m4t_v2")
_BY_TOKENIZER = ("musicgen", "speecht5")  # whatever processor is there


@dataclass(frozen=True)
class TextToAudioOptions:
    vocoder: Any = None
    sampling_rate: int | None = None
    noise_scheduler: Any = None
    preprocess_params: Mapping[str, Any] | None = None
    processor_kwargs: Mapping[str, Any] | None = None
    forward_params: Mapping[str, Any] | None = None
    generate_kwargs: Mapping[str, Any] | None = None


def read(text_inputs: Any = None, **options: Any) -> Call:
    """A text or a chat, a list of either, or any iterable of them."""
    require(text_inputs is not None, "text_inputs must be a text, a chat, or several of them; got None")
    if is_chat(text_inputs):
        return Call([text_inputs], "single", options)
    return as_call(text_inputs, options)


def parse(loaded: Loaded, item: Any, options: TextToAudioOptions) -> Any:
    if is_chat(item):
        return checked_chat(item)
    if not isinstance(item, str):
        raise TypeError(f"text must be a string or a chat; got {type(item).__name__}")
    require(bool(item), "text must not be empty; got ''")
    return item


def check(loaded: Loaded, options: TextToAudioOptions) -> TextToAudioOptions:
    require(
        loaded.model.can_generate() or not options.generate_kwargs,
        f"generate_kwargs must be empty for {type(loaded.model).__name__}, which makes sound in one pass; use "
        f"forward_params",
    )
    require(
        not _makes_spectrograms(loaded) or options.vocoder is not None,
        f"vocoder must be given: {type(loaded.model).__name__} makes spectrograms (transformers would fetch "
        f"microsoft/speecht5_hifigan)",
    )
    return options


def _makes_spectrograms(loaded: Loaded) -> bool:
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_TO_SPECTROGRAM_MAPPING_NAMES

    return type(loaded.model).__name__ in MODEL_FOR_TEXT_TO_SPECTROGRAM_MAPPING_NAMES.values()


def vocoder_of(loaded: Loaded, options: TextToAudioOptions) -> Any:
    """The vocoder on the model's device; a path or a name is loaded once."""
    if not _makes_spectrograms(loaded):
        return None
    if "vocoder" not in loaded.findings:
        found = options.vocoder
        if not callable(found):
            from transformers import SpeechT5HifiGan

            found = SpeechT5HifiGan.from_pretrained(str(found))
        loaded.findings["vocoder"] = found.to(loaded.device).eval() if isinstance(found, torch.nn.Module) else found
    return loaded.findings["vocoder"]


def encode(loaded: Loaded, items: Sequence[Any], options: TextToAudioOptions) -> list[Prepared]:
    prepared = []
    for item in items:
        inputs = _encode_chat(loaded, item, options) if isinstance(item, list) else _encode(loaded, item, options)
        prepared.append(Prepared([Row({}, 1, None, {"inputs": dict(inputs)})], item))
    return prepared


def _preprocessor(loaded: Loaded) -> Any:
    if loaded.processor is not None and loaded.config.model_type not in _BY_TOKENIZER:
        return loaded.processor
    return loaded.tokenizer


def _encode(loaded: Loaded, text: str, options: TextToAudioOptions) -> Mapping[str, Any]:
    """The model's inputs for a text, with what transformers' pipeline adds for Bark, CSM and Dia."""
    given, kind = dict(options.preprocess_params or {}), loaded.config.model_type
    if kind == "bark":
        settings = getattr(loaded.model.generation_config, "semantic_config", None)
        longest = getattr(settings, "max_input_semantic_length", 256)
        fixed = {"add_special_tokens": False, "return_attention_mask": True, "return_token_type_ids": False}
        given = {"max_length": longest, **fixed, **given}
    if kind in ("csm", "dia") and not text.startswith("["):  # a speaker must be named
        text = f"[0]{text}" if kind == "csm" else f"[S1] {text}"
    if kind == "csm":
        given.setdefault("add_special_tokens", True)
    if options.processor_kwargs is not None:
        given["processor_kwargs"] = options.processor_kwargs
    found: Mapping[str, Any] = tokenize(_preprocessor(loaded), [text], **given, return_tensors="pt")
    require(
        "input_ids" not in found or found["input_ids"].numel() > 0,
        f"text must have letters that the model knows; got {shown(text)}",
    )
    return _as_computed(loaded, found)


def _encode_chat(loaded: Loaded, messages: list[Any], options: TextToAudioOptions) -> Mapping[str, Any]:
    found = _preprocessor(loaded).apply_chat_template(
        messages,
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
        processor_kwargs=dict(options.processor_kwargs or {}),
        **(options.preprocess_params or {}),
    )
    return _as_computed(loaded, found)


def _as_computed(loaded: Loaded, inputs: Any) -> Mapping[str, Any]:
    """A processor's numbers in the model's type; token ids stay as they are."""
    from transformers import BatchFeature

    found: Mapping[str, Any] = inputs.to(dtype=loaded.dtype) if isinstance(inputs, BatchFeature) else inputs
    return found


def forward(loaded: Loaded, batch: Batch, options: TextToAudioOptions) -> Reading:
    """Rows one after the other, or where transformers' batch is asked for padded together."""
    if len(batch.rows) == 1:
        outputs = [_run(loaded, batch.rows[0].facts["inputs"], options)]
    else:
        loaded_inputs = [row.facts["inputs"] for row in batch.rows]
        padded = loaded.tokenizer.pad(
            [{name: value[0] for name, value in inputs.items()} for inputs in loaded_inputs], return_tensors="pt"
        )
        output = _run(loaded, padded, options)
        outputs = [_row_of(output, row) for row in range(len(batch.rows))]
    sounds = [_samples(loaded, output) for output in outputs]
    samples = [each.detach().float() for own in sounds for each in own]
    # A model that generates has waited already: nothing is gained by launching the next row before these are read.
    read = iter(received(*samples) if loaded.model.can_generate() else (yield samples))
    listed = [[np.squeeze(next(read).numpy()) for _ in own] for own in sounds]
    rate = rate_of(loaded, options)
    return [{"audio": own if len(own) > 1 else own[0], "sampling_rate": rate} for own in listed]


def _row_of(output: Any, row: int) -> Any:
    if isinstance(output, Mapping):
        return {name: value[row : row + 1] for name, value in output.items() if isinstance(value, Tensor | list)}
    if isinstance(output, tuple):
        output = output[0]
    return output[row : row + 1]


def _run(loaded: Loaded, inputs: Mapping[str, Any], options: TextToAudioOptions) -> Any:
    placed, given = _on_device(loaded, inputs), _on_device(loaded, dict(options.forward_params or {}))
    if loaded.model.can_generate():
        output = generate(loaded.model, **placed, **_arguments(loaded, given, options))
    else:
        output = loaded.model(**placed, **given)[0]
    vocoder = vocoder_of(loaded, options)
    return output if vocoder is None else vocoder(output)


def _arguments(loaded: Loaded, given: Mapping[str, Any], options: TextToAudioOptions) -> dict[str, Any]:
    """The arguments of ``generate`` or of the model's own call, as transformers' pipeline sets them."""
    given = {**given, **_on_device(loaded, dict(options.generate_kwargs or {}))}
    if loaded.config.model_type in _NESTED:
        arguments = dict(given)
    else:
        arguments = with_defaults(loaded, given, DEFAULTS)
        if arguments.get("generation_config") is not None:
            arguments["generation_config"].return_dict_in_generate = True
        else:
            arguments["return_dict_in_generate"] = True
    if loaded.config.model_type == "csm":  # its processor cannot decode: the model does
        arguments.setdefault("output_audio", True)
    if options.noise_scheduler is not None:
        arguments.setdefault("noise_scheduler", options.noise_scheduler)
    return arguments


def _on_device(loaded: Loaded, value: Any) -> Any:
    if isinstance(value, Tensor):
        return sent(value, loaded.device)
    if isinstance(value, Mapping):
        return {name: _on_device(loaded, each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_on_device(loaded, each) for each in value)
    return value


def _samples(loaded: Loaded, output: Any) -> list[Tensor]:
    """The samples of one row, which may be several sounds."""
    undecoded = False
    if isinstance(output, Mapping):
        name = next((name for name in ("audio", "waveform") if name in output), None)
        undecoded, output = name is None, output["sequences" if name is None else name]
    elif isinstance(output, tuple):
        output = output[0]
    if undecoded and loaded.processor is not None and loaded.config.model_type not in _BY_TOKENIZER:
        output = loaded.processor.decode(output)
    return output if isinstance(output, list) else [output]


def rate_of(loaded: Loaded, options: TextToAudioOptions) -> int | None:
    """Samples a second: the vocoder's, as given, or as the model, its codec or its processor is configured."""
    vocoder = vocoder_of(loaded, options)
    if vocoder is not None:
        rate: int = vocoder.config.sampling_rate
        return rate
    if options.sampling_rate is not None:
        return options.sampling_rate
    found = None
    settings = getattr(loaded.model, "generation_config", None)
    codec = getattr(loaded.config, "codec_config", None)
    for name in ("sample_rate", "sampling_rate"):
        own = getattr(settings, name, None)
        own = own if own is not None else getattr(loaded.config, name, None)
        own = own if own is not None else getattr(codec, name, None)
        found = own if own is not None else found
    extractor = getattr(loaded.processor, "feature_extractor", None)
    return found if found is not None or extractor is None else extractor.sampling_rate


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: TextToAudioOptions
) -> list[Any]:
    return [Speech(rows[0]) for rows in outputs]


TASK = Task(
    name="text-to-audio",
    aliases=("text-to-speech",),
    auto_classes=("AutoModelForTextToWaveform", "AutoModelForTextToSpectrogram"),
    options=TextToAudioOptions,
    read=read,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    check=check,
    # What is drawn for a text depends on what was drawn before it.
    in_order=lambda loaded, options: True,
    may_use=("processor",),
)
