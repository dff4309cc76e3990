"""Transducers (token-and-duration and RNN-T): tokens and the frames they were emitted at, as text, pieces and words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ....postprocess.audio.transducer import emission_frames
from ...generation.install import generate
from ...running.batching import Batch, Row
from ...running.loaded import Loaded
from .features import main_input
from .recognition_options import RecognitionOptions, generate_arguments

# Marks that take the end of the token before them as their own time, in token-and-duration models.
_MARKS = frozenset("?'¡¿-:,%/.!")


@dataclass(frozen=True)
class Emitted:
    """What was generated for one row: ids [T], and the frames that each step moved on by [T] where the model says."""

    token_ids: Tensor
    durations: Tensor | None


def forward(loaded: Loaded, batch: Batch, options: RecognitionOptions) -> list[Emitted]:
    """Rows as they are alone: transformers lets a row that is through with its frames go on until all are, and decodes
    what it says then. With a batch size that is asked for, so does this."""
    output = generate(loaded.model, **{**batch.inputs, **generate_arguments(loaded, options)})
    held = output if isinstance(output, Mapping) else {"sequences": output}
    sequences, durations = held["sequences"].cpu(), held.get("durations")
    if durations is None:
        return [Emitted(ids, None) for ids in sequences]
    found = [Emitted(ids, own) for ids, own in zip(sequences, durations.cpu(), strict=True)]
    if len(found) == 1 or (loaded.batch_size is not None and loaded.compat):
        return found
    return [_own(emitted, _frames(loaded, row)) for emitted, row in zip(found, batch.rows, strict=True)]


def _frames(loaded: Loaded, row: Row) -> int:
    """Frames that the encoder makes of a row."""
    mask = row.inputs.get("attention_mask")
    length = int(mask.sum()) if mask is not None else len(main_input(row.inputs))
    return int(loaded.model.encoder._get_subsampling_output_length(torch.tensor([length], device="cpu")))


def _own(emitted: Emitted, frames: int) -> Emitted:
    """The steps up to the one that moves on from the last frame."""
    assert emitted.durations is not None
    steps = int((emitted.durations.cumsum(0) < frames).sum()) + 1
    return Emitted(emitted.token_ids[:steps], emitted.durations[:steps])


def record(loaded: Loaded, outputs: Sequence[Emitted], times: Any) -> dict[str, Any]:
    """``text`` of all chunks of a recording, which transformers joins as they are, and ``chunks`` with times."""
    ids = torch.cat([each.token_ids for each in outputs])
    found: dict[str, Any] = {"text": loaded.tokenizer.decode(ids, skip_special_tokens=True, group_tokens=False)}
    if times:
        pieces = timed_pieces(loaded, outputs[0])
        found["chunks"] = pieces if times == "char" else joined_words(pieces)
    return found


def timed_pieces(loaded: Loaded, emitted: Emitted) -> list[dict[str, Any]]:
    """Every piece of text with its seconds: what ParakeetProcessor.decode makes of the durations."""
    from tokenizers.decoders import DecodeStream

    if emitted.durations is None:
        raise ValueError(f"return_timestamps must be None for {type(loaded.model).__name__}, which gives no durations")
    by_duration = loaded.config.model_type == "parakeet_tdt"
    frames = emission_frames(emitted.durations, spans=by_duration).tolist()
    seconds, silent = seconds_per_frame(loaded), {loaded.tokenizer.pad_token_id, loaded.config.blank_token_id}
    stream, backend = DecodeStream(skip_special_tokens=True), loaded.tokenizer._tokenizer
    found: list[dict[str, Any]] = []
    for token, (start, end) in zip(emitted.token_ids.tolist(), frames, strict=True):
        text = None if token in silent else stream.step(backend, token)
        if text is None:  # nothing, or bytes of a letter that is not whole yet
            continue
        place = (start * seconds, end * seconds)
        if by_duration and text in _MARKS and found:
            place = (found[-1]["timestamp"][1],) * 2
        found.append({"text": text, "timestamp": place})
    return found


def joined_words(pieces: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pieces up to the next one that begins with a space, from the first one's start to the last one's end."""
    found: list[dict[str, Any]] = []
    for piece in pieces:
        if not found or piece["text"].startswith(" "):
            found.append({"text": piece["text"], "timestamp": piece["timestamp"]})
            continue
        start = found[-1]["timestamp"][0]
        found[-1] = {"text": found[-1]["text"] + piece["text"], "timestamp": (start, piece["timestamp"][1])}
    return [{**word, "text": word["text"].strip()} for word in found if word["text"].strip()]


def seconds_per_frame(loaded: Loaded) -> float:
    """Seconds that a frame of the encoder stands for."""
    extractor = loaded.feature_extractor
    return float(extractor.hop_length / extractor.sampling_rate * loaded.config.encoder_config.subsampling_factor)
