"""Drawn outputs of audio and multimodal models, transformers' own steps against ours.

``python -m tests.programs.audio_parity``:

``--cases N`` draws N cases a kernel (2,000), ``-k WORD`` only kernels whose name holds the word, ``--seed`` the first
seed. Prints one line per kernel: cases, how many differ, and the first seed that does. The beam search is compared with
pyctcdecode (and KenLM) where they are installed, a line says so where they are not; the forced alignment with plain
loops.
"""

from __future__ import annotations

import functools
import importlib.util
import random
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from afterlogits.postprocess.audio import (
    HotWords,
    NgramModel,
    align_ctc,
    decode_whisper,
    follow_beams,
    frame_ids,
    join_by_overlap,
    median_filter,
    merge_overlaps_of_tokens,
    read_arpa,
    search_ctc_beams,
    select_heads,
    token_times,
    warp,
)
from afterlogits.postprocess.multimodal import (
    answer_question,
    donut_answer,
    option_probabilities,
    tags_to_json,
    visual_answers,
)
from afterlogits.postprocess.top_labels import top_labels
from tests.oracles import ctc_paths
from tests.postprocess import test_top_labels
from tests.postprocess.audio import (
    beam_cases,
    ctc_cases,
    test_alignment,
    test_attention_times,
    test_chunk_merge,
    test_ctc,
    test_ctc_beams,
    test_dtw,
    test_strides,
    test_word_splits,
    whisper_cases,
)
from tests.postprocess.multimodal import test_document_spans, test_donut
from tests.programs.drawn_parity import Check, command

REASONS = {"pyctcdecode": "pyctcdecode is not installed", "kenlm": "kenlm is not installed"}


def require(verdict: bool, *what: object) -> None:
    if not verdict:
        raise AssertionError(", ".join(map(str, what)))


@functools.cache
def ctc_parts(size: int):
    tokenizer = ctc_cases.ctc_tokenizer(size)
    return tokenizer, ctc_cases.alphabet_of(tokenizer)


def ctc(seed: int) -> None:
    size = (32, 40)[seed % 2]
    test_ctc.assert_same_as_transformers(*ctc_parts(size), ctc_cases.draw_ids(seed, size=size))


def sound_labels(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    count = int(torch.randint(1, 528, (), generator=generator))
    logits = torch.randn(3, count, generator=generator) * 4
    logits = logits.round() if seed % 3 == 0 else logits
    function, top_k = ("softmax", "sigmoid", "none")[seed % 3], (count, min(5, count), 1)[seed // 3 % 3]
    found = top_labels(logits, top_k, function_to_apply=function).records(test_top_labels.NAMES)
    require(found == test_top_labels.pipeline_answers(logits, top_k, function), "labels")


def visual(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, int(torch.randint(1, 3130, (), generator=generator)), generator=generator) * 12
    found = visual_answers(logits).records([str(index) for index in range(3129)])
    for row, answers in zip(logits, found, strict=True):
        scores, ids = row[None].sigmoid()[0].topk(min(5, len(row)))
        pairs = zip(scores.tolist(), ids.tolist(), strict=True)
        require(answers == [{"score": score, "answer": str(index)} for score, index in pairs], "answers")


@functools.cache
def whisper_parts():
    tokenizer = whisper_cases.whisper_tokenizer()
    return tokenizer, whisper_cases.vocabulary_of(tokenizer)


def whisper(seed: int, timestamps: bool | str) -> None:
    tokenizer, vocabulary = whisper_parts()
    outputs, language = whisper_cases.draw_outputs(seed, vocabulary), seed % 2 == 0
    found = decode_whisper(outputs, vocabulary, return_timestamps=timestamps)
    try:
        expected = whisper_cases.transformers_reading(tokenizer, outputs, timestamps, language)
    except IndexError:  # 4.57.6 stops at bytes that are no character
        require(test_word_splits.VERSION_4, "IndexError")
        return
    require(whisper_cases.our_reading(found, timestamps, language) == expected, "recognition")


def word_splits(seed: int) -> None:
    draw = random.Random(seed)
    size = draw.choice([4, 30, 268])
    first = draw.randrange(268 - size + 1)
    ids = [first + draw.randrange(size) for _ in range(draw.randint(1, 30))]
    test_word_splits.assert_same_as_transformers(ids, draw.choice(["english", "japanese", None]))


def whisper_merge(seed: int) -> None:
    sequences = test_chunk_merge.draw_sequences(seed)
    require(test_chunk_merge.merged(*sequences) == test_chunk_merge.whisper_merge(sequences), "ids")


def timed_merge(seed: int) -> None:
    sequences = test_chunk_merge.draw_sequences(seed)
    times = test_chunk_merge.draw_times(seed, sequences)
    ids, merged = merge_overlaps_of_tokens(
        [np.array(each, dtype=np.int64) for each in sequences],
        [tuple(np.array(row, dtype=np.float64).reshape(-1, 2).T) for row in times],
    )
    pairs = list(zip(*(column.tolist() for column in merged), strict=True))
    require((ids.tolist(), pairs) == test_chunk_merge.whisper_merge(sequences, times), "ids or times")


def seq2seq_join(seed: int) -> None:
    sequences = test_chunk_merge.draw_sequences(seed)
    tensors = [torch.tensor([each], dtype=torch.long) for each in sequences]
    found = join_by_overlap([np.array(each, dtype=np.int64) for each in sequences]).tolist()
    try:
        expected = test_chunk_merge.seq2seq_merge(tensors, SimpleNamespace(all_special_ids=[])).tolist()
    except ValueError:  # a sequence longer than the text: transformers stops
        return
    require(found == expected, "ids")


def strides(seed: int) -> None:
    test_strides.assert_same_as_transformers(random.Random(seed))


def best_ids(seed: int) -> None:
    generator, size = torch.Generator().manual_seed(seed), (40, 512, 777, 3000)[seed % 4]
    logits = torch.randn(2, 9, size, generator=generator)
    logits = logits.mul(3).round() if seed // 4 % 2 else logits  # equal logits: the first of them
    require(torch.equal(frame_ids(logits), logits.argmax(-1)), "ids")


def medians(seed: int) -> None:
    from transformers.models.whisper.generation_whisper import _median_filter

    draw, generator = random.Random(seed), torch.Generator().manual_seed(seed)
    width = draw.choice([1, 3, 5, 7, 9])
    weights = torch.randn(2, 2, draw.randint(1, 5), draw.randint(width, 60), generator=generator)
    weights = weights.round() if seed % 3 == 0 else weights
    require(torch.equal(median_filter(weights, width), _median_filter(weights, width)), "weights")


def donut_answers(seed: int) -> None:
    from transformers.pipelines.document_question_answering import DocumentQuestionAnsweringPipeline

    draw = random.Random(seed)
    parts = ["<s_docvqa>", "<s_question>", "who?", "</s_question>", "<s_answer>", "Ada", " L.\n", "</s_answer>", "</s>"]
    kept = [part for part in parts if draw.random() < 0.85] + draw.sample(parts, draw.choice([0, 0, 1]))
    tokenizer = SimpleNamespace(
        batch_decode=lambda _: ["".join(kept)], eos_token="</s>", eos_token_id=1, pad_token="<pad>", pad_token_id=0
    )
    this = SimpleNamespace(tokenizer=tokenizer)
    method = DocumentQuestionAnsweringPipeline.postprocess_encoder_decoder_single
    require(donut_answer("".join(kept)) == method(this, {"sequences": [[0]]})["answer"], repr(kept))


def time_warping(seed: int) -> None:
    costs = test_dtw.draw_costs(seed)
    test_dtw.assert_same_as_transformers(costs, warp(costs))


def token_ends(seed: int) -> None:
    beams, draw = seed % 2 == 1, random.Random(seed)
    outputs, heads, prompt, available = test_attention_times.draw_generation(seed, beams=beams)
    positions = draw.choice([None, draw.randint(1, available), "each"])
    if positions == "each":
        positions = [draw.randint(1, available) for _ in range(len(outputs.sequences))]
    weights = select_heads(outputs.cross_attentions, heads)
    weights = follow_beams(weights, outputs.beam_indices, prompt) if beams else weights
    found = token_times(weights, num_input_ids=prompt, frames=positions)
    doubled = np.array(positions) * 2 if isinstance(positions, list) else positions and positions * 2
    expected = test_attention_times.transformers_times(outputs, heads, prompt, doubled)
    torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)


def documents(seed: int) -> None:
    case = test_document_spans.draw_pages(seed)
    if test_document_spans.VERSION_4 and case.start.shape[1] ** 2 == case.top_k > 1:
        return  # 4.57.6 stops here
    for question, answers in enumerate(test_document_spans.search(case)):
        require(answers == test_document_spans.pipeline_answers(case, question), "question", question)


def donut(seed: int) -> None:
    text = test_donut.draw_text(seed) if seed % 4 else test_donut.well_formed(random.Random(seed))
    require(tags_to_json(text, categories=test_donut.CATEGORIES) == test_donut.token2json(text), repr(text))


def decisions(seed: int) -> None:
    from transformers.decision.template_utils import Question

    draw = random.Random(seed)
    kind = ("noul", "choice", "score")[seed % 3]
    count = 2 if kind == "noul" else draw.randint(1, 9)
    options = ["true", "false"] if kind == "noul" else [str(index) for index in range(count)]
    row = torch.randn(count, generator=torch.Generator().manual_seed(seed)) * 3
    row = row.round() if seed % 5 == 0 else row
    (probs,) = option_probabilities([row])
    ours = answer_question(kind, options, probs, options)
    require(ours == Question("q", kind, None, options, options, options).answer(row.softmax(-1).tolist()), kind)


@functools.cache
def beam_decoder(size: int):
    return test_ctc_beams.decoder_of(beam_cases.LABELS[:size])


def beams(seed: int) -> None:
    logits, labels = beam_cases.draw_logits(seed)
    width = random.Random(seed).choice([1, 3, 10, 25, 100])
    expected = beam_decoder(len(labels)).decode_beams(logits.numpy(), beam_width=width)
    found = search_ctc_beams(logits[None], labels, beam_width=width).rows[0]
    test_ctc_beams.assert_same_beams(found, expected)


def beams_with_model(seed: int) -> None:
    draw = random.Random(seed)
    logits, labels = beam_cases.draw_logits(seed, symbols=draw.choice([4, 6, 8]), noise=draw.choice([None, 2]))
    words = beam_cases.draw_words(seed, labels)
    hot, width = draw.sample(words, min(2, len(words))) if draw.random() < 0.5 else [], draw.choice([1, 3, 10, 25])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "words.arpa"
        beam_cases.write_arpa(path, words, seed, order=draw.choice([2, 3]), unknown=draw.random() < 0.8)
        decoder = test_ctc_beams.decoder_of(labels, kenlm_model_path=str(path))
        model = NgramModel(read_arpa(path), decoder._language_model._unigram_set)
        expected = decoder.decode_beams(logits.numpy(), beam_width=width, hotwords=hot)
    found = search_ctc_beams(logits[None], labels, beam_width=width, model=model, hot_words=HotWords.of(hot)).rows[0]
    test_ctc_beams.assert_same_beams(found, expected)


def alignment(seed: int) -> None:
    logprobs, targets, lengths, target_lengths = test_alignment.draw_clips(seed)
    found = align_ctc(logprobs, targets, lengths=lengths, target_lengths=target_lengths)
    for row, (frames, places) in enumerate(zip(lengths.tolist(), target_lengths.tolist(), strict=True)):
        path, score = ctc_paths.align(logprobs[row, :frames].tolist(), targets[row, :places].tolist())
        require(found.scores[row].item() == score or abs(found.scores[row].item() - score) < 1e-9, "score")
        require(path is None or found.tokens[row, :frames].tolist() == path, "path")


KERNELS: dict[str, tuple[Check, str | None]] = {
    "CTC text, characters, words": (ctc, None),
    "labels of sounds": (sound_labels, None),
    "visual answers": (visual, None),
    "Whisper, text": (functools.partial(whisper, timestamps=False), None),
    "Whisper, segments": (functools.partial(whisper, timestamps=True), None),
    "Whisper, words": (functools.partial(whisper, timestamps="word"), None),
    "Whisper, words of tokens": (word_splits, None),
    "Whisper, merge": (whisper_merge, None),
    "Whisper, merge with times": (timed_merge, None),
    "seq2seq join": (seq2seq_join, None),
    "chunks and strides": (strides, None),
    "best ids of frames": (best_ids, None),
    "time warping": (time_warping, None),
    "median filter": (medians, None),
    "token times of attentions": (token_ends, None),
    "document answers": (documents, None),
    "Donut's tags": (donut, None),
    "Donut's answer": (donut_answers, None),
    "decisions": (decisions, "transformers.decision"),
    "CTC beams": (beams, "pyctcdecode"),
    "CTC beams with an n-gram model": (beams_with_model, "kenlm"),
    "forced alignment": (alignment, None),
}


def comparable(check: Check, needs: str | None) -> Check | str:
    """The check, or why it cannot be made here."""
    if needs is None or importlib.util.find_spec(needs) is not None:
        return check
    return REASONS.get(needs, "not in this version of transformers")


if __name__ == "__main__":
    sys.exit(command(__doc__, {name: comparable(*kernel) for name, kernel in KERNELS.items()}))
