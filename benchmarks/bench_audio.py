"""Kernels of audio and multimodal tasks against transformers' own steps (and pyctcdecode), answers equal first."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import transformers

from afterlogits.adapters.tasks.audio.whisper_recognition import read_vocabulary
from afterlogits.benchmarks import audio_workloads as audio
from afterlogits.benchmarks.answers import require_same
from afterlogits.benchmarks.pairing import at_least, memory_at_most
from afterlogits.postprocess.audio import (
    AlignmentAttentions,
    align_ctc,
    collapse_ctc,
    decode_whisper,
    frame_ids,
    median_filter,
    search_ctc_beams,
    token_times,
    warp,
)
from afterlogits.postprocess.multimodal import select_document_answers, visual_answers
from afterlogits.postprocess.top_labels import top_labels

WHISPER = {False: "text", True: "segments", "word": "words"}
KERNELS = {"table": "audio kernels", "memory": ("ours",)}


def recognitions(transcripts, kind):
    """What the pipeline gives for every row."""
    texts = transcripts.texts()
    if kind == "text":
        return [{"text": text} for text in texts]
    times = transcripts.times(kind, 320, 16000)
    return [{"text": text, "chunks": chunks} for text, chunks in zip(texts, times, strict=True)]


def plain(recognised):
    """transformers' times are numpy numbers."""
    return [
        item | {"chunks": [c | {"timestamp": tuple(map(float, c["timestamp"]))} for c in item["chunks"]]}
        if "chunks" in item
        else item
        for item in recognised
    ]


@pytest.mark.cpu_only
@pytest.mark.parametrize("size", [32, 5000])
@pytest.mark.parametrize("kind", ["text", "char", "word"])
def bench_ctc(pair, kind, size):
    tokenizer = audio.ctc_tokenizer(size)
    alphabet, ids = audio.alphabet_of(tokenizer), audio.speech_ids(32, 1500, size)
    method = transformers.AutomaticSpeechRecognitionPipeline.postprocess
    rate = SimpleNamespace(sampling_rate=16000)
    this = SimpleNamespace(type="ctc", tokenizer=tokenizer, feature_extractor=rate, _align_to=320)
    timestamps = None if kind == "text" else kind
    wording = {"text": "text", "char": "text and times of characters", "word": "text and times of words"}[kind]
    pair(
        f"CTC, 32 clips of 1,500 frames, {wording}, V={size:,}",
        ours=lambda: recognitions(collapse_ctc(ids, alphabet), kind),
        rivals={
            "transformers": lambda: [
                method(this, [{"tokens": row[None], "is_last": True}], return_timestamps=timestamps) for row in ids
            ]
        },
        asked=[at_least(40 if kind == "text" else 25, "transformers")],
        same=lambda ours, theirs: require_same(ours, plain(theirs)),
        readme="CTC, 32 clips, text with times of words" if kind == "word" and size == 32 else "",
        **KERNELS,
    )


@pytest.mark.cpu_only
def bench_frame_ids(pair):
    logits = torch.randn(8, 1500, 5000, generator=torch.Generator().manual_seed(0))
    pair(
        "best id of 8 x 1,500 frames, V=5,000",
        ours=lambda: frame_ids(logits),
        rivals={"argmax": lambda: logits.argmax(-1)},
        data=logits,
        asked=[at_least(1.5, "argmax")],
        **KERNELS,
    )


@pytest.mark.cpu_only
@pytest.mark.parametrize(("times", "asked"), [(False, 18), (True, 8), ("word", 18)])
def bench_whisper_merge(pair, times, asked):
    """180 overlapping chunks of 200 tokens: an hour of speech."""
    tokenizer = audio.whisper_tokenizer()
    vocabulary = read_vocabulary(tokenizer)
    outputs = audio.whisper_outputs(180, 200, vocabulary, times=bool(times))
    theirs = [
        {
            "tokens": torch.tensor(output.token_ids)[None],
            "token_timestamps": torch.tensor(output.token_times)[None],
            "stride": output.stride,
        }
        for output in outputs
    ]

    def ours():
        found = decode_whisper(outputs, vocabulary, return_timestamps=times)
        if not times:
            return found.text, {}
        return found.text, {"chunks": found.words() if times == "word" else found.chunks()}

    options = {"return_timestamps": times, "return_language": False, "time_precision": 0.02}
    pair(
        f"Whisper, 180 overlapping chunks, {WHISPER[times]}",
        ours=ours,
        rivals={"transformers": lambda: tokenizer._decode_asr(theirs, **options)},
        asked=[at_least(asked, "transformers")],
        readme="Whisper, an hour in overlapping chunks, words with times" if times == "word" else "",
        **KERNELS,
    )


@pytest.mark.cpu_only
def bench_time_warping(pair):
    from transformers.models.whisper.generation_whisper import _dynamic_time_warping

    costs = torch.randn(6, 200, 1500, generator=torch.Generator().manual_seed(0))
    pair(
        "dynamic time warping, 6 windows of 200 tokens and 1,500 frames",
        ours=lambda: [[text.tolist(), time.tolist()] for text, time in warp(costs).paths],
        rivals={
            "transformers": lambda: [
                [column.tolist() for column in _dynamic_time_warping(matrix.double().numpy())] for matrix in costs
            ]
        },
        asked=[at_least(15, "transformers")],
        **KERNELS,
    )


@pytest.mark.cpu_only
def bench_median_filter(pair):
    from transformers.models.whisper.generation_whisper import _median_filter

    weights = torch.randn(4, 6, 200, 1500, generator=torch.Generator().manual_seed(0))
    pair(
        "median filter of width 7, 4 x 6 heads of 200 tokens and 1,500 frames",
        ours=lambda: median_filter(weights, 7),
        rivals={"transformers": lambda: _median_filter(weights, 7)},
        data=weights,
        asked=[at_least(3, "transformers")],
        **KERNELS,
    )


@pytest.mark.cpu_only
def bench_word_times(pair):
    """Attentions of a model as large as whisper-tiny (4 layers of 6 heads, 6 of which align), kept and aligned."""
    from transformers.models.whisper.generation_whisper import WhisperGenerationMixin

    layers, heads, tokens, frames, batch_size = 4, 6, 150, 1500, 6
    chosen = [(2, 2), (3, 0), (3, 2), (3, 3), (3, 4), (3, 5)]
    steps = audio.attention_steps(batch_size, layers, heads, tokens, frames)
    counts = [frames] * batch_size
    config = SimpleNamespace(decoder_layers=layers, median_filter_width=7)
    method = WhisperGenerationMixin._extract_token_timestamps

    class Generated(dict):
        __getattr__ = dict.__getitem__

    def theirs():
        # A step's attentions are new tensors of a forward pass: both sides copy them.
        attentions = tuple(tuple(layer.clone() for layer in step) for step in steps)
        outputs = Generated(cross_attentions=attentions, sequences=torch.zeros(batch_size, tokens + 1).long())
        doubled = np.array(counts) * 2
        return method(SimpleNamespace(config=config), outputs, chosen, num_frames=doubled, num_input_ids=1)

    def ours():
        collected = AlignmentAttentions(chosen, capacity=tokens)
        for step in steps:
            collected.append([layer.clone() for layer in step])
        return token_times(collected.weights(), num_input_ids=1, frames=counts)

    pair(
        "word times of 6 windows: attentions kept, smoothed and aligned",
        ours=ours,
        rivals={"transformers": theirs},
        asked=[at_least(8, "transformers"), memory_at_most(0.25, "transformers")],
        table="audio kernels",
        memory=("ours", "transformers"),
        rounds=3,
        note="the attentions of each step count on both sides, as a forward pass makes them",
        readme="Whisper's word times, 6 windows",
    )


@pytest.mark.cpu_only
@pytest.mark.parametrize(("top_k", "asked"), [(1, 40), (5, 30)])
def bench_document_answers(pair, top_k, asked):
    """32 pages of one window of 512 tokens."""
    from transformers.pipelines.document_question_answering import DocumentQuestionAnsweringPipeline, ModelType

    generator = torch.Generator().manual_seed(0)
    start, end = (torch.randn(32, 512, generator=generator) * 3 for _ in range(2))
    places = torch.arange(512)
    allowed = ((places >= 16) & (places < 511)).expand(32, -1)
    ids = torch.where(allowed, (places - 16) // 2, -1)
    words = [[f"w{index}" for index in range(256)]] * 32
    this = SimpleNamespace(model_type=ModelType.LayoutLM)
    this.postprocess_extractive_qa = lambda *args, **options: (
        DocumentQuestionAnsweringPipeline.postprocess_extractive_qa(this, *args, **options)
    )
    outputs = [
        {
            "start_logits": start[row : row + 1],
            "end_logits": end[row : row + 1],
            "p_mask": (~allowed[row : row + 1]).long().numpy(),
            "word_ids": [None if word < 0 else word for word in ids[row].tolist()],
            "words": words[row],
            "attention_mask": torch.ones(1, 512, dtype=torch.long),
        }
        for row in range(32)
    ]
    method = DocumentQuestionAnsweringPipeline.postprocess
    questions = torch.arange(32)
    pair(
        f"answers in 32 documents of 512 tokens, top {top_k}",
        ours=lambda: select_document_answers(start, end, allowed, ids, questions, top_k=top_k).records(words),
        rivals={"transformers": lambda: [method(this, [output], top_k=top_k) for output in outputs]},
        asked=[at_least(asked, "transformers")],
        readme="answers in 32 documents" if top_k == 1 else "",
        **KERNELS,
    )


@pytest.mark.cpu_only
@pytest.mark.parametrize(("top_k", "asked"), [(5, 4), (527, 1.7)])
def bench_sound_labels(pair, top_k, asked):
    names = {index: f"sound {index}" for index in range(527)}
    logits = torch.randn(32, 527, generator=torch.Generator().manual_seed(0)) * 3
    method = transformers.AudioClassificationPipeline.postprocess
    this = SimpleNamespace(model=SimpleNamespace(config=SimpleNamespace(id2label=names, problem_type=None)))
    pair(
        f"labels of 32 sounds, {'all' if top_k == 527 else f'top {top_k}'} of 527",
        ours=lambda: top_labels(logits, top_k).records(names),
        rivals={"transformers": lambda: [method(this, SimpleNamespace(logits=row[None]), top_k) for row in logits]},
        asked=[at_least(asked, "transformers")],
        **KERNELS,
    )


@pytest.mark.cpu_only
def bench_visual_answers(pair):
    names = {index: f"answer {index}" for index in range(3129)}
    logits = torch.randn(32, 3129, generator=torch.Generator().manual_seed(0)) * 3

    def theirs():
        """The pipeline of 4.57.6, which version 5 removed, in its own operations."""
        answers = []
        for row in logits:
            scores, ids = row[None].sigmoid()[0].topk(5)
            pairs = zip(scores.tolist(), ids.tolist(), strict=True)
            answers.append([{"score": score, "answer": names[index]} for score, index in pairs])
        return answers

    pair(
        "answers to 32 questions about pictures, top 5 of 3,129",
        ours=lambda: visual_answers(logits).records(names),
        rivals={"transformers 4.57.6": theirs},
        asked=[at_least(2.3, "transformers 4.57.6")],
        **KERNELS,
    )


@pytest.mark.cpu_only
def bench_ctc_beams(pair):
    pyctcdecode = pytest.importorskip("pyctcdecode", reason="pyctcdecode is not installed")
    labels = ["", " ", *audio.LETTERS]
    logits = audio.noisy_logits(8, 600, len(labels))
    logging.disable(logging.WARNING)
    decoder = pyctcdecode.build_ctcdecoder(labels)
    logging.disable(logging.NOTSET)

    def theirs():
        rows = [decoder.decode_beams(row, beam_width=25) for row in logits.numpy()]
        return [[(text, [(w, tuple(map(int, f))) for w, f in frames]) for text, _, frames, *_ in row] for row in rows]

    def ours():
        found = search_ctc_beams(logits, labels, beam_width=25)
        return [[(beam.text, list(beam.words)) for beam in row] for row in found.rows]

    pair(
        "CTC prefix beam search, 8 clips of 600 noisy frames, 25 beams",
        ours=ours,
        rivals={"pyctcdecode": theirs},
        asked=[at_least(10, "pyctcdecode")],
        **KERNELS,
    )


def align_one(logprobs, targets):
    """Forced alignment of one clip as tutorials write it: a loop over frames, all states of a frame at once."""
    symbols = torch.zeros(2 * len(targets) + 1, dtype=torch.long)
    symbols[1::2] = targets
    skip = torch.zeros(len(symbols), dtype=torch.bool)
    skip[3::2] = targets[1:] != targets[:-1]
    scores = torch.full((len(symbols),), -torch.inf, dtype=torch.float64)
    scores[0] = 0.0
    steps = []
    for frame in logprobs:
        one = torch.cat((scores.new_full((1,), -torch.inf), scores[:-1]))
        two = torch.where(skip, torch.cat((scores.new_full((2,), -torch.inf), scores[:-2])), -torch.inf)
        best = torch.maximum(scores, one)
        step = (one > scores).long()
        step[two > best] = 2
        scores = torch.maximum(best, two) + frame[symbols]
        steps.append(step)
    state = len(symbols) - 1 if scores[-1] > scores[-2] else len(symbols) - 2
    path = []
    for step in reversed(steps):
        path.append((state - 1) // 2 if state % 2 else -1)
        state -= int(step[state])
    return path[::-1]


@pytest.mark.cpu_only
def bench_forced_alignment(pair):
    generator = torch.Generator().manual_seed(0)
    logprobs = torch.randn(16, 1500, 32, generator=generator).log_softmax(-1)
    targets = torch.randint(1, 32, (16, 370), generator=generator)
    pair(
        "forced alignment, 16 clips of 1,500 frames and 370 symbols",
        ours=lambda: align_ctc(logprobs, targets).tokens.tolist(),
        rivals={"plain loops": lambda: [align_one(*clip) for clip in zip(logprobs, targets, strict=True)]},
        asked=[at_least(9, "plain loops")],
        readme="a text aligned with 16 clips",
        **KERNELS,
    )


# growth


def bench_ctc_over_frames(growth):
    alphabet = audio.alphabet_of(audio.ctc_tokenizer(32))

    def make(frames):
        ids = audio.speech_ids(32, frames, 32)
        return lambda: recognitions(collapse_ctc(ids, alphabet), "word")

    growth("CTC text and word times, 32 clips", axis="frames", sizes=[750, 1500, 3000, 6000], make=make, time=1)


def bench_ctc_over_vocabulary(growth):
    """From logits: one read of them, then what does not depend on the vocabulary."""

    def make(size):
        alphabet = audio.alphabet_of(audio.ctc_tokenizer(size))
        logits = torch.randn(4, 500, size, generator=torch.Generator().manual_seed(0))
        return lambda: collapse_ctc(frame_ids(logits), alphabet).texts()

    growth("CTC text from logits, 4 clips", axis="vocabulary", sizes=[500, 1000, 2000, 4000], make=make, time=1)


@pytest.mark.parametrize("times", [False, True, "word"])
def bench_whisper_over_chunks(growth, times):
    vocabulary = read_vocabulary(audio.whisper_tokenizer())

    def make(chunks):
        outputs = audio.whisper_outputs(chunks, 200, vocabulary, times=bool(times))

        def run():
            found = decode_whisper(outputs, vocabulary, return_timestamps=times)
            return found.words() if times == "word" else found.chunks(times=bool(times))

        return run

    growth(
        f"Whisper, chunks of 200 tokens, {WHISPER[times]}", axis="chunks", sizes=[30, 60, 120, 240], make=make, time=1
    )


@pytest.mark.full
def bench_time_warping_over_frames(growth):
    def make(frames):
        costs = torch.randn(6, 200, frames, generator=torch.Generator().manual_seed(0))
        return lambda: warp(costs)

    growth("time warping, 6 windows", axis="frames", sizes=[375, 750, 1500, 3000], make=make, time=1, rounds=3)


@pytest.mark.full
@pytest.mark.parametrize("axis", ["frames", "symbols"])
def bench_alignment(growth, axis):
    def make(size):
        frames, count = (size, 100) if axis == "frames" else (1500, size)
        generator = torch.Generator().manual_seed(0)
        logprobs = torch.randn(8, frames, 32, generator=generator).log_softmax(-1)
        targets = torch.randint(1, 32, (8, count), generator=generator)
        return lambda: align_ctc(logprobs, targets)

    sizes = [375, 750, 1500, 3000] if axis == "frames" else [90, 180, 360, 720]
    growth("forced alignment, 8 clips", axis=axis, sizes=sizes, make=make, time=1, memory=1, rounds=3)


@pytest.mark.full
@pytest.mark.parametrize("axis", ["frames", "beams"])
def bench_beams(growth, axis):
    labels = ["", " ", *audio.LETTERS]

    def make(size):
        logits = audio.noisy_logits(4, size if axis == "frames" else 200, len(labels))
        width = size if axis == "beams" else 25
        return lambda: search_ctc_beams(logits, labels, beam_width=width, num_texts=1)

    sizes = [100, 200, 400, 800] if axis == "frames" else [10, 20, 40, 80]
    growth("CTC beam search, 4 clips", axis=axis, sizes=sizes, make=make, time=1, rounds=3)
