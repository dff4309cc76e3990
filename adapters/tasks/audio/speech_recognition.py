"""Speech recognition, as the pipeline of transformers 5.23: CTC, encoder-decoders, Whisper and transducers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ....postprocess.audio.chunk_merge import join_by_overlap
from ....postprocess.audio.strides import chunks_of
from ...generation.install import generate
from ...generation.request import uncut_beams
from ...media.sounds import Sound, read_sound, read_sounds, weigh_sound
from ...running.batching import Batch, Row, WindowSizes
from ...running.loaded import Loaded
from ...running.reading import Reading
from ...running.task import Prepared, Task
from ..text.generating import cut_beams
from . import ctc_recognition, transducer_recognition, whisper_recognition
from .features import LEAST_DOUBTED, batch_groups, extract, frames_of, main_input, pad_rows, require_frames
from .recognition_options import (
    CTC,
    CTC_WITH_LM,
    SEQ2SEQ,
    TRANSDUCER,
    WHISPER,
    RecognitionOptions,
    check,
    chunk_samples,
    generate_arguments,
    kind_of,
    must_run_in_order,
    recognition_arguments,
    timestamps_of,
)
from .results import Recognised, of_sound
from .spoken_parts import InParts, Part, join_parts, spoken_parts

WINDOWS = WindowSizes(4, 64, 64)


def parse(loaded: Loaded, item: Any, options: RecognitionOptions) -> Sound:
    sound = read_sound(
        item,
        loaded.feature_extractor.sampling_rate,
        allow_urls=options.allow_urls,
        timeout=options.timeout,
        compat=loaded.compat,
    )
    if sound.stride is not None and kind_of(loaded, options) == SEQ2SEQ:
        raise ValueError("stride must be left out for a model that is neither CTC nor Whisper")
    require_frames(loaded, sound.samples)
    return sound


def encode(loaded: Loaded, items: Sequence[Sound], options: RecognitionOptions) -> list[Prepared]:
    """The chunks of every recording as rows; without chunks, the whole recording, or its spoken parts."""
    if not options.skip_silence:
        return _encoded(loaded, items, options)
    parts = [
        [part for part in spoken_parts(sound, options.skip_silence) if _long_enough(loaded, part, options)]
        for sound in items
    ]
    encoded = iter(_encoded(loaded, [part.sound for own in parts for part in own], options))
    prepared = []
    for sound, own in zip(items, parts, strict=True):
        each = [next(encoded) for _ in own]
        rows = [row for part in each for row in part.rows]
        numbered = [replace(row, facts={**row.facts, "chunk": number}) for number, row in enumerate(rows)]
        prepared.append(Prepared(numbered, InParts(sound, own, each)))
    return prepared


def _long_enough(loaded: Loaded, part: Part, options: RecognitionOptions) -> bool:
    """Whether the model, and its feature extractor, make a frame of a part at all."""
    samples = part.sound.samples
    if not 0 < len(samples) <= LEAST_DOUBTED:
        return len(samples) > 0
    try:
        require_frames(loaded, samples)
        _inputs(loaded, samples, kind_of(loaded, options), chunked=bool(options.chunk_length_s))
    except ValueError:
        return False
    return True


def _encoded(loaded: Loaded, items: Sequence[Sound], options: RecognitionOptions) -> list[Prepared]:
    """The chunks of every recording as rows of what the model reads."""
    kind = kind_of(loaded, options)
    rows: list[list[Row]] = []
    for sound in items:
        own = []
        for number, (samples, stride) in enumerate(_chunks(loaded, sound, options)):
            inputs = _inputs(loaded, samples, kind, chunked=bool(options.chunk_length_s))
            own.append(Row(inputs, _weight(loaded, samples, kind), None, {"stride": stride, "chunk": number}))
        rows.append(own)
    grouped = _grouped(loaded, rows, kind)
    return [Prepared(own, sound) for own, sound in zip(grouped, items, strict=True)]


def _chunks(loaded: Loaded, sound: Sound, options: RecognitionOptions) -> list[tuple[Any, Any]]:
    """Samples of every chunk, and how many of them, at its left and right, are only context."""
    if not options.chunk_length_s:
        return [(sound.samples, sound.stride)]
    lengths = chunk_samples(loaded, options)
    return [
        (sound.samples[chunk.start : chunk.start + chunk.stride[0]], chunk.stride)
        for chunk in chunks_of(len(sound.samples), lengths)
    ]


def _weight(loaded: Loaded, samples: Any, kind: str) -> int:
    """What a row takes of a batch's budget: its samples; for Whisper, which reads one window at a time and spends
    itself on the tokens, an eighth of a window."""
    return loaded.feature_extractor.n_samples // 8 if kind == WHISPER else len(samples)


def _inputs(loaded: Loaded, samples: Any, kind: str, *, chunked: bool) -> dict[str, Tensor]:
    options: dict[str, Any] = {"return_attention_mask": True}
    if kind == WHISPER and not chunked and len(samples) > loaded.feature_extractor.n_samples:
        options |= {"truncation": False, "padding": "longest"}
    inputs = extract(loaded, samples, **options)
    name = str(getattr(loaded.model, "main_input_name", "inputs"))
    sound, mask = inputs[name] if name in inputs else main_input(inputs), inputs.get("attention_mask")
    return {name: sound} if mask is None else {name: sound, "attention_mask": mask}


def _grouped(loaded: Loaded, rows: Sequence[Sequence[Row]], kind: str) -> list[list[Row]]:
    """Rows with what keeps them apart: shapes, unless padding is harmless or transformers' batches are asked for."""
    flat = [row for own in rows for row in own]
    frames = None
    groups: list[Any]
    if kind == WHISPER:
        # A window and a longer recording run in different loops of generate; both know each row's own length.
        longest = loaded.feature_extractor.nb_max_frames
        groups = [main_input(row.inputs).shape[-1] > longest for row in flat]
    elif loaded.batch_size is not None and loaded.compat:
        groups = [None] * len(flat)
    else:
        inputs = [row.inputs for row in flat]
        frames = frames_of(loaded, inputs, return_attention_mask=True) if kind in (CTC, CTC_WITH_LM) else None
        groups = batch_groups(loaded, inputs, frames)
    placed = iter(zip(flat, groups, strict=True))
    return [[_placed(*next(placed), frames) for _ in own] for own in rows]


def _placed(row: Row, group: Any, frames: Any) -> Row:
    facts = dict(row.facts)
    if frames is not None:
        sound = main_input(row.inputs)
        facts["frames"] = frames(sound.shape[0])
    return Row(row.inputs, row.length, None, facts, group)


def forward(loaded: Loaded, batch: Batch, options: RecognitionOptions) -> Sequence[Any] | Reading:
    kind = kind_of(loaded, options)
    if kind in (CTC, CTC_WITH_LM):
        return ctc_recognition.forward(loaded, batch, options)
    if kind == WHISPER:
        return whisper_recognition.forward(loaded, batch, options)
    if kind == TRANSDUCER:
        return transducer_recognition.forward(loaded, batch, options)
    arguments: dict[str, Any] = {**batch.inputs, **generate_arguments(loaded, options)}
    with uncut_beams():
        output = generate(loaded.model, **arguments)
    sequences: Tensor = output["sequences"] if isinstance(output, Mapping) else output
    return list(cut_beams(loaded, arguments, sequences.cpu()))


def finish(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: RecognitionOptions
) -> list[Any]:
    """The records of recordings, those of which only the spoken parts were read put together from them."""
    if not options.skip_silence:
        return _finished(loaded, items, outputs, options)
    parts = [part for item in items for part in item.facts.prepared]
    given = iter(output for own in outputs for output in own)
    records = iter(_finished(loaded, parts, [[next(given) for _ in part.rows] for part in parts], options))
    results = []
    timed = bool(timestamps_of(loaded, options) or options.return_language)
    for item in items:
        facts: InParts = item.facts
        record = Recognised(join_parts([next(records) for _ in facts.parts], facts.parts, timed=timed))
        record.update({name: [value] * len(item.rows) for name, value in facts.sound.extra.items()})
        results.append(of_sound(record, facts.sound))
    return results


def _finished(
    loaded: Loaded, items: Sequence[Prepared], outputs: Sequence[Sequence[Any]], options: RecognitionOptions
) -> list[Any]:
    """The record of every recording, by the kind of its model."""
    kind = kind_of(loaded, options)
    if kind in (CTC, CTC_WITH_LM):
        records = ctc_recognition.transcribe(loaded, [item.rows for item in items], outputs, options)
    elif kind == WHISPER:
        records = [_of_whisper(loaded, item, own, options) for item, own in zip(items, outputs, strict=True)]
    elif kind == TRANSDUCER:
        times = timestamps_of(loaded, options)
        records = [transducer_recognition.record(loaded, own, times) for own in outputs]
    else:
        records = [_generated(loaded, own) for own in outputs]
    for item, record in zip(items, records, strict=True):
        # Whatever else the caller's dict held comes back, once for every chunk.
        record.update({name: [value] * len(item.rows) for name, value in item.facts.extra.items()})
    return [
        of_sound(record if isinstance(record, Recognised) else Recognised(record), item.facts)
        for record, item in zip(records, items, strict=True)
    ]


def _of_whisper(loaded: Loaded, item: Prepared, outputs: Sequence[Any], options: RecognitionOptions) -> Recognised:
    """The record of one recording from its windows, with confidences and attention where they are asked for."""
    times = timestamps_of(loaded, options)
    transcript = whisper_recognition.transcribe(loaded, item.rows, outputs, options)
    # A confidence and an attention are of the words as they were written.
    repaired = not (loaded.compat or options.confidence or options.attention)
    seconds = item.facts.seconds if repaired else None
    found = Recognised(whisper_recognition.record(transcript, options, times, seconds=seconds))
    if options.confidence:
        ids, logprobs = outputs[0].token_ids, outputs[0].logprobs
        is_text = torch.from_numpy(transcript.vocabulary.text_mask(ids.numpy()))
        whisper_recognition.add_confidences(found, transcript, logprobs[is_text], times)
    if options.attention:
        found.attention = whisper_recognition.attention_of(loaded, transcript, outputs[0])
    return found


def _generated(loaded: Loaded, outputs: Sequence[Tensor]) -> dict[str, Any]:
    tokenizer = loaded.tokenizer
    if loaded.compat or len(outputs) == 1:  # transformers has a merge, but forgets the strides that would call it
        return {"text": tokenizer.decode(torch.cat(list(outputs)), skip_special_tokens=True)}
    special = set(tokenizer.all_special_ids)
    own = [np.array([token for token in each.tolist() if token not in special], dtype=np.int64) for each in outputs]
    return {"text": tokenizer.decode(join_by_overlap(own, compat=False), skip_special_tokens=True)}


TASK = Task(
    name="automatic-speech-recognition",
    aliases=("asr",),
    auto_classes=("AutoModelForCTC", "AutoModelForTDT", "AutoModelForRNNT", "AutoModelForSpeechSeq2Seq"),
    options=RecognitionOptions,
    read=read_sounds,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=finish,
    check=check,
    forwarded=recognition_arguments,
    in_order=must_run_in_order,
    needs=("tokenizer", "feature_extractor"),
    unit="samples",
    collate=pad_rows,
    window_sizes=WINDOWS,
    weigh=weigh_sound,
)
