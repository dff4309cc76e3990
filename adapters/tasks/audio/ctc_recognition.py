"""Models of connectionist temporal classification: frames to letters, words and their times, with a decoder or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ....postprocess.audio.confidence import character_confidences, frame_probabilities, word_confidences
from ....postprocess.audio.ctc import collapse_chunks, frame_ids
from ....postprocess.audio.ctc_transcripts import CtcAlphabet, CtcTranscripts, ctc_alphabet
from ....postprocess.audio.strides import rescale_stride
from ...running.batching import Batch, Row
from ...running.loaded import Loaded
from ...running.reading import Reading
from .beam_decoding import best_beams
from .recognition_options import CTC_WITH_LM, RecognitionOptions, kind_of, samples_per_frame


@dataclass(frozen=True)
class Frames:
    """The output for one row: ids [T] of its frames, or with a decoder their logits [T, V]; how probable each id is
    [T], where that is asked for."""

    values: Tensor
    probabilities: Tensor | None = None


def forward(loaded: Loaded, batch: Batch, options: RecognitionOptions) -> Reading:
    logits: Tensor = loaded.model(**batch.inputs).logits
    values = logits if kind_of(loaded, options) == CTC_WITH_LM else frame_ids(logits)
    values = values.float() if values.is_floating_point() else values
    values, *sure = yield [values, *([frame_probabilities(logits)] if options.confidence else [])]
    found = []
    for place, row in enumerate(batch.rows):
        own = slice(row.facts.get("frames"))
        found.append(Frames(values[place][own], sure[0][place][own] if sure else None))
    return found


def frame_stride(loaded: Loaded, row: Row) -> tuple[int, int, int] | None:
    """A chunk's frames and those of its context at the left and right, of its samples."""
    stride = row.facts.get("stride")
    if stride is None:
        return None
    return rescale_stride(stride, 1 / samples_per_frame(loaded))


def transcribe(
    loaded: Loaded, rows: Sequence[Sequence[Row]], outputs: Sequence[Sequence[Frames]], options: RecognitionOptions
) -> list[dict[str, Any]]:
    """The records of all recordings of a window: one collapse for all of their frames."""
    strides = [frame_stride(loaded, row) for own in rows for row in own]
    if kind_of(loaded, options) == CTC_WITH_LM:
        return _by_decoder(loaded, strides, outputs, options)
    chunks = [frames.values for own in outputs for frames in own]
    owners = [item for item, own in enumerate(outputs) for _ in own]
    alphabet = alphabet_of(loaded)
    if alphabet is None:
        return _by_tokenizer(loaded, strides, outputs, options)
    found = collapse_chunks(chunks, strides, owners, alphabet)
    texts = found.texts()
    if loaded.tokenizer.do_lower_case:
        texts = [text.lower() for text in texts]
    if loaded.tokenizer.clean_up_tokenization_spaces:
        texts = [loaded.tokenizer.clean_up_tokenization(text) for text in texts]
    records: list[dict[str, Any]] = [{"text": text} for text in texts]
    kind = options.return_timestamps
    if kind:
        rate = loaded.feature_extractor.sampling_rate
        times = found.times(kind, samples_per_frame(loaded), rate)
        for record, own in zip(records, times, strict=True):
            record["chunks"] = own
    if options.confidence:
        _add_confidences(records, found, _joined(strides, outputs, "probabilities"), kind)
    return records


def _add_confidences(
    records: Sequence[dict[str, Any]], found: CtcTranscripts, probabilities: Sequence[Tensor], kind: str | None
) -> None:
    """``confidence`` of every chunk, and of a record the mean over its letters (1 where nothing was said)."""
    padded = pad_sequence(list(probabilities), batch_first=True)
    letters = character_confidences(padded, found).tolist()
    splits = found.row_splits.tolist()
    chunks = letters if kind == "char" else word_confidences(padded, found).tolist() if kind else []
    remaining = iter(chunks)
    for record, first, last in zip(records, splits[:-1], splits[1:], strict=True):
        own = letters[first:last]
        record["confidence"] = sum(own) / len(own) if own else 1.0
        for chunk in record.get("chunks", ()):
            chunk["confidence"] = next(remaining)


def alphabet_of(loaded: Loaded) -> CtcAlphabet | None:
    """What the tokenizer's ids stand for, or None for a tokenizer that joins its tokens in a way of its own."""
    if "ctc_alphabet" not in loaded.findings:
        loaded.findings["ctc_alphabet"] = _read_alphabet(loaded.tokenizer)
    found: CtcAlphabet | None = loaded.findings["ctc_alphabet"]
    return found


def _read_alphabet(tokenizer: Any) -> CtcAlphabet | None:
    """The letters of a tokenizer that decodes as Wav2Vec2's does; None where it has ways of its own."""
    from transformers import Wav2Vec2CTCTokenizer

    kind = type(tokenizer)
    own = ("_decode", "convert_tokens_to_string", "convert_ids_to_tokens", "decode")
    if not isinstance(tokenizer, Wav2Vec2CTCTokenizer) or any(
        getattr(kind, name, None) is not getattr(Wav2Vec2CTCTokenizer, name, None) for name in own
    ):
        return None
    size = max(tokenizer.get_vocab().values(), default=-1) + 1
    return ctc_alphabet(
        tokenizer.convert_ids_to_tokens(list(range(size))),
        blank=tokenizer.pad_token,
        delimiter=tokenizer.word_delimiter_token,
        space=tokenizer.replace_word_delimiter_char,
        unknown=tokenizer.unk_token,
    )


def kept(values: Tensor, stride: tuple[int, int, int] | None) -> Tensor:
    """The frames of a chunk that are its own."""
    return values if stride is None else values[stride[1] : stride[0] - stride[2]]


def _joined(strides: Sequence[Any], outputs: Sequence[Sequence[Frames]], name: str = "values") -> list[Tensor]:
    """The frames of every recording, without the context of its chunks."""
    remaining = iter(strides)
    return [torch.cat([kept(getattr(frames, name), next(remaining)) for frames in own]) for own in outputs]


def _by_tokenizer(
    loaded: Loaded, strides: Sequence[Any], outputs: Sequence[Sequence[Frames]], options: RecognitionOptions
) -> list[dict[str, Any]]:
    """Records by the tokenizer's own decoding, item by item."""
    tokenizer, kind = loaded.tokenizer, options.return_timestamps
    records = []
    for ids in _joined(strides, outputs):
        found = tokenizer.decode(ids.numpy(), skip_special_tokens=False)
        if not kind:
            records.append({"text": found})
            continue
        offsets = tokenizer.decode(ids.numpy(), skip_special_tokens=False, output_char_offsets=True)["char_offsets"]
        if kind == "word":
            offsets = tokenizer._get_word_offsets(offsets, tokenizer.replace_word_delimiter_char)
        records.append({"text": found, "chunks": _timed(loaded, offsets, kind)})
    return records


def _by_decoder(
    loaded: Loaded, strides: Sequence[Any], outputs: Sequence[Sequence[Frames]], options: RecognitionOptions
) -> list[dict[str, Any]]:
    """The best beam of every recording."""
    records = []
    for text, words in best_beams(_joined(strides, outputs), options.decoder, options.decoder_kwargs or {}):
        record: dict[str, Any] = {"text": text}
        if options.return_timestamps:
            offsets = [{"word": word, "start_offset": start, "end_offset": end} for word, (start, end) in words]
            record["chunks"] = _timed(loaded, offsets, "word")
        records.append(record)
    return records


def _timed(loaded: Loaded, offsets: Sequence[Any], kind: str) -> list[dict[str, Any]]:
    samples, rate = samples_per_frame(loaded), loaded.feature_extractor.sampling_rate
    return [
        {"text": each[kind], "timestamp": (each["start_offset"] * samples / rate, each["end_offset"] * samples / rate)}
        for each in offsets
    ]
