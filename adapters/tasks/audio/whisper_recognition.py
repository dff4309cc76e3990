"""Whisper: windows or chunks of sound to tokens by the model's own generate, tokens to text, segments and words."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from warnings import warn

import numpy as np
import torch
from torch import Tensor

from ....postprocess.audio.confidence import token_word_confidences
from ....postprocess.audio.repairs import cut_chunk_loops, repair_chunks
from ....postprocess.audio.timestamps import Transcript, WhisperOutput, decode_whisper
from ....postprocess.audio.word_splits import WhisperVocabulary, split_words
from ...generation.install import generate
from ...generation.needed_attentions import needed_attentions_only
from ...generation.word_times import attentions_kept, rows_timed_alone
from ...running.batching import Batch, Row
from ...running.loaded import Loaded
from .recognition_options import RecognitionOptions, generate_arguments, timestamps_of
from .word_attention import TokenAttention, WordAttention, token_attentions, word_attentions

_PER_CLIP = ("language", "task")


@dataclass(frozen=True)
class WhisperTokens:
    """What was generated for one row. token_ids: [T]; times: [T] seconds, where words are timed."""

    token_ids: Tensor
    times: Tensor | None = None
    language: int | None = None
    logprobs: Tensor | None = None  # [T], where confidences are asked for
    attentions: Sequence[TokenAttention] = ()  # [T], where they are asked for


def forward(loaded: Loaded, batch: Batch, options: RecognitionOptions) -> list[WhisperTokens]:
    arguments = generate_arguments(loaded, options)
    for name in _PER_CLIP:  # a list names one for each recording of the call
        if isinstance(arguments.get(name), list | tuple):
            arguments[name] = [arguments[name][item] for item in batch.items]
    seeds = arguments.pop("seeds", None)
    if seeds is not None:
        arguments["seeds"] = _row_seeds(seeds, batch)
    arguments = {**batch.inputs, **arguments}
    with rows_timed_alone(), needed_attentions_only(), attentions_kept(options.attention):
        output = generate(loaded.model, **arguments)
    segments: Any = output.get("segments") if isinstance(output, Mapping) else None
    sequences: Tensor = output["sequences"] if isinstance(output, Mapping) else output
    words = timestamps_of(loaded, options) == "word"
    found = []
    for row, tokens in enumerate(sequences.cpu()):
        times = None
        if words:
            times = _token_times(output, segments, row)
            tokens = tokens[: len(times)]
        language = _language(loaded, segments[row]) if options.return_language and segments is not None else None
        logprobs = None
        if options.confidence and segments is None:
            tokens, logprobs = _generated(output, row)
        elif options.confidence:
            logprobs = _token_logprobs(segments[row])
            tokens = tokens[: len(logprobs)]
        looked = token_attentions(segments[row])[: len(tokens)] if options.attention else ()
        found.append(WhisperTokens(tokens, times, language, logprobs, looked))
    return found


def _token_logprobs(segments: Sequence[Mapping[str, Any]]) -> Tensor:
    """The log-probability of every token that was kept, from the scores of the windows' steps."""
    offsets: dict[int, int] = {}
    found = []
    for segment in segments:
        first, last = segment["idxs"]
        scores = segment["result"]["scores"]
        begin = offsets.setdefault(id(segment["result"]), first)
        steps = torch.stack(list(scores[first - begin : last - begin])).float().log_softmax(-1).cpu()
        found.append(steps.gather(-1, segment["tokens"].cpu()[: len(steps), None])[:, 0])
    return torch.cat(found) if found else torch.zeros(0, device="cpu")


def _generated(output: Mapping[str, Any], row: int) -> tuple[Tensor, Tensor]:
    """The tokens that one call of generate added to a row, and their log-probabilities along the beams they came by."""
    scores, beams = output["scores"], output.get("beam_indices")
    path = [row] * len(scores) if beams is None else beams[row][beams[row] >= 0].tolist()
    if len(scores[0]) == len(output["sequences"]):  # transformers has followed the beams already
        path = [row] * len(path)
    width = len(scores) if beams is None else beams.shape[1]
    ids = output["sequences"][row][-width:][: len(path)].cpu()
    steps = torch.stack([step[beam] for step, beam in zip(scores, path, strict=False)]).float().log_softmax(-1).cpu()
    return ids, steps.gather(-1, ids[:, None])[:, 0]


def _row_seeds(seeds: Any, batch: Batch) -> list[int]:
    """A seed for every row: the recording's, moved on by a large odd number for each further chunk of it."""
    return [
        (seeds + item if isinstance(seeds, int) else seeds[item]) + 1_000_003 * row.facts.get("chunk", 0)
        for item, row in zip(batch.items, batch.rows, strict=True)
    ]


def _token_times(output: Mapping[str, Any], segments: Any, row: int) -> Tensor:
    if segments is None:
        times: Tensor = output["token_timestamps"][row].cpu()
        return times
    own = [segment["token_timestamps"].cpu() for segment in segments[row]]
    return torch.cat(own) if own else torch.zeros(0, device="cpu")


def _language(loaded: Loaded, segments: Sequence[Mapping[str, Any]]) -> int | None:
    """The token of the language that was spoken to or detected: generate cuts it off the sequences it returns."""
    if not segments:
        return None
    result = segments[0]["result"]
    sequence = result["sequences"] if isinstance(result, Mapping) else result
    ids = set(getattr(loaded.model.generation_config, "lang_to_id", {}).values())
    return next((token for token in sequence.tolist() if token in ids), None)


def transcribe(
    loaded: Loaded, rows: Sequence[Row], tokens: Sequence[WhisperTokens], options: RecognitionOptions
) -> Transcript:
    """The chunks of one recording as one transcript."""
    rate = loaded.feature_extractor.sampling_rate
    outputs, precision = [], seconds_a_position(loaded)
    for row, found in zip(rows, tokens, strict=True):
        stride = row.facts.get("stride")
        ids = found.token_ids
        times = found.times
        if found.language is not None:
            ids = torch.cat([ids.new_tensor([found.language]), ids])
            # As in transformers, the times are not moved along with the tokens.
            if times is not None and not loaded.compat:
                times = torch.cat([times.new_zeros(1), times])
        outputs.append(WhisperOutput(ids, None if stride is None else tuple(n / rate for n in stride), times))
    found_times = timestamps_of(loaded, options)
    transcript = decode_whisper(
        outputs,
        vocabulary_of(loaded),
        return_timestamps=found_times or False,
        time_precision=precision,
    )
    if transcript.unfinished:
        warn("a recording ends without a closing time: its last segment has no end", UserWarning, stacklevel=2)
    return transcript


def seconds_a_position(loaded: Loaded) -> float:
    """What one position of the encoder stands for, and one step of the time tokens."""
    seconds: float = loaded.feature_extractor.chunk_length / loaded.config.max_source_positions
    return seconds


def attention_of(loaded: Loaded, transcript: Transcript, found: WhisperTokens) -> list[WordAttention]:
    """What the model attended to while it wrote each word."""
    is_text = transcript.vocabulary.text_mask(found.token_ids.numpy())
    own = [each for each, kept in zip(found.attentions, is_text, strict=True) if kept]
    return word_attentions(transcript, own, seconds_a_position(loaded))


def record(transcript: Transcript, options: RecognitionOptions, times: Any, *, seconds: float | None) -> dict[str, Any]:
    """``text`` and, where times or languages are asked for, ``chunks``. seconds: of the recording, where its chunks are
    to be put right: times that are there and in order, no loops, nothing said twice at a border."""
    language = bool(options.return_language)
    if not times and not language:
        return {"text": transcript.text}
    words = times == "word"
    chunks = transcript.words(language=language) if words else transcript.chunks(times=bool(times), language=language)
    if seconds is None or not times:
        return {"text": transcript.text, "chunks": chunks}
    chunks = repair_chunks(cut_chunk_loops(chunks), seconds=seconds)
    return {"text": "".join(chunk["text"] for chunk in chunks), "chunks": chunks}


def add_confidences(result: dict[str, Any], transcript: Transcript, logprobs: Tensor, times: Any) -> dict[str, Any]:
    """``confidence`` of every word or segment and of the whole: exp of the mean log-probability of its tokens.

    logprobs: [n] of the transcript's text tokens, in order.
    """
    values = logprobs.double().numpy()
    counts = [len(segment.token_ids) for segment in transcript.segments]
    own = np.split(values, np.cumsum(counts)[:-1]) if counts else []
    sure: list[float] = []
    for segment, scores in zip(transcript.segments, own, strict=True):
        if times == "word":
            words = split_words(segment.token_ids.tolist(), transcript.vocabulary, segment.spoken)
            sure += token_word_confidences(scores, words)
        else:
            sure.append(float(np.exp(scores.mean())) if len(scores) else 1.0)
    result["confidence"] = float(np.exp(values.mean())) if len(values) else 1.0
    for chunk, value in zip(result.get("chunks", ()), sure, strict=bool(times)):
        chunk["confidence"] = value
    return result


def vocabulary_of(loaded: Loaded) -> WhisperVocabulary:
    """What the tokenizer's ids stand for; read once for a model."""
    if "whisper_vocabulary" not in loaded.findings:
        loaded.findings["whisper_vocabulary"] = read_vocabulary(loaded.tokenizer)
    found: WhisperVocabulary = loaded.findings["whisper_vocabulary"]
    return found


def read_vocabulary(tokenizer: Any) -> WhisperVocabulary:
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    byte_of, added = byte_symbols(), tokenizer.added_tokens_decoder
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    pieces = [
        (token or "").encode() if index in added else bytes(byte_of[symbol] for symbol in token)
        for index, token in enumerate(tokens)
    ]
    ids = tokenizer.convert_tokens_to_ids
    special = frozenset(tokenizer.all_special_ids)
    names = {index: LANGUAGES.get(tokens[index][2:-2]) for index in special}
    return WhisperVocabulary(
        pieces,
        special,
        {index: name for index, name in names.items() if name is not None},
        timestamp_begin=ids("<|notimestamps|>") + 1,
        prompt_id=ids("<|startofprev|>"),
        start_id=ids("<|startoftranscript|>"),
        eos_id=tokenizer.eos_token_id,
        language=getattr(tokenizer, "language", None),
        clean=_clean_up(tokenizer),
    )


def _clean_up(tokenizer: Any) -> Callable[[str], str] | None:
    """What decoding does to the spaces of a text. transformers 5 leaves byte-level vocabularies as they are, unless the
    tokenizer insists; transformers 4, which does not know that option, cleans them up."""
    if not tokenizer.clean_up_tokenization_spaces:
        return None
    insists = getattr(tokenizer, "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output", True)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if not insists and type(getattr(backend, "model", None)).__name__ == "BPE":
        return None
    own: Callable[[str], str] = tokenizer.clean_up_tokenization
    return own


def byte_symbols() -> dict[str, int]:
    """The character that stands for each byte in a byte-level vocabulary, and the byte: printable ones stand for
    themselves, the others are numbered from U+0100 on.

    >>> byte_symbols()["Ġ"] == ord(" ")
    True
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = [byte for byte in range(256) if byte not in printable]
    return {
        **{chr(byte): byte for byte in printable},
        **{chr(0x100 + number): byte for number, byte in enumerate(others)},
    }
