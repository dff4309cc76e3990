"""Every audio and multimodal task against transformers' own pipeline, on drawn sounds, pages, pictures and chats.

``python -m tests.programs.audio_pipeline_parity [--cases N] [--write docs/parity.md]`` prints the numbers of cases and
of mismatches per task and model, and writes them into the document: with transformers 5.23 the tasks that exist there,
with 4.57.6 the ones version 5 removed.
"""

import argparse
import random
import sys
import time
import warnings
from functools import cache
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import pipeline as of_transformers

from afterlogits.adapters.pipelines import pipeline
from tests.adapters.tasks.parity import same
from tests.builders import audio_models as sounds
from tests.builders import multimodal_models as pages
from tests.builders import transducers
from tests.programs.parity_page import replace_section

V5 = transformers.__version__.startswith("5")
GREEDY = {"generate_kwargs": {"num_beams": 1}}
CTC = [
    {},
    {"return_timestamps": "word"},
    {"return_timestamps": "char"},
    {"chunk_length_s": 0.5, "return_timestamps": "word"},
    {"chunk_length_s": 0.4, "stride_length_s": (0.1, 0.05)},
    {"batch_size": 3},
]
TRANSDUCER = [{}, {"chunk_length_s": 0.9}, {"batch_size": 3}, {"max_new_tokens": 7}]
WHISPER = [
    GREEDY,
    {"return_timestamps": True, **GREEDY},
    {"return_timestamps": "word", **GREEDY},
    {"return_language": True, "return_timestamps": True, **GREEDY},
    {"chunk_length_s": 2, "return_timestamps": True, **GREEDY},
    {"chunk_length_s": 2, "return_timestamps": "word", **GREEDY},
    {"generate_kwargs": {"num_beams": 2, "language": "de"}},
]
DOCUMENT = [
    {},
    {"top_k": 4, "handle_impossible_answer": True},
    {"max_seq_len": 32, "doc_stride": 8, "top_k": 3, "max_answer_len": 4},
]
PROMPT = [{"max_new_tokens": 5}, {"max_new_tokens": 5, "return_full_text": False}]
WORDS = ["Paris", "river", "New", "York", "Maria", "works", "Acme", "bridge", "the", "of", "and"]


def a_sound(drawn, least=0.1, most=2.5):
    """Mono or two channels, in one of the types and forms that transformers reads without ffmpeg."""
    found = sounds.noise(drawn.uniform(least, most), drawn.randrange(10_000))
    form = drawn.choice(("plain", "plain", "two", "whole", "double", "tensor", "dict", "stride"))
    if form == "two":
        return np.stack([found, found[::-1]])
    if form == "whole":
        return (found * 3000).astype(np.int16)
    if form == "double":
        return found.astype(np.float64)
    if form == "tensor":
        return torch.from_numpy(found)
    if form == "plain":
        return found
    held = {"raw": found, "sampling_rate": 16_000}
    return {**held, "stride": (len(found) // 5, len(found) // 7)} if form == "stride" else held


def a_real_sound(drawn):
    """Kaldi's features scale by 2 ** 15, which overflows 16 bits in transformers: no whole numbers."""
    found = a_sound(drawn)
    return found / 3000.0 if getattr(found, "dtype", None) == np.int16 else found


def a_mono_sound(drawn):
    return sounds.noise(drawn.uniform(0.1, 2.5), drawn.randrange(10_000))


def a_whisper_sound(drawn):
    return sounds.noise(drawn.choice((1.0, 2.5, 5.0)), drawn.randrange(10_000))


def a_long_sound(drawn):
    return sounds.noise(drawn.uniform(31, 70), drawn.randrange(10_000))


def a_question(drawn):
    return " ".join(drawn.choices(WORDS, k=drawn.randint(1, 8)))


def a_page(drawn):
    return {"question": a_question(drawn), "word_boxes": pages.word_boxes(drawn.randint(1, 120), drawn.randrange(9999))}


def a_picture(drawn):
    return pages.picture(*drawn.choice(((40, 30), (30, 40), (33, 57))), seed=drawn.randrange(9999))


def a_picture_question(drawn):
    return {"image": a_picture(drawn), "question": a_question(drawn)}


def a_chat(drawn):
    seen = [{"type": "image", "image": a_picture(drawn)}] if drawn.random() < 0.7 else []
    messages = [{"role": "user", "content": [*seen, {"type": "text", "text": a_question(drawn)}]}]
    if drawn.random() < 0.3:
        messages.append({"role": "assistant", "content": [{"type": "text", "text": a_question(drawn)}]})
    return messages


def a_request(drawn):
    options = drawn.sample(WORDS, drawn.randint(1, 5))
    kinds = {
        "one": {"type": "noul", "instructions": a_question(drawn)},
        "two": {"type": "choice", "criteria": {word: drawn.choice((None, a_question(drawn))) for word in options}},
        "three": {"type": "score", "criteria": options},
    }
    return {"state": a_question(drawn), "questions": {name: kinds[name] for name in drawn.sample(list(kinds), 2)}}


def ctc(**options):
    def build(seed):
        model, extractor = sounds.wav2vec2(seed=seed % 3, **options)
        return model, {"tokenizer": sounds.ctc_tokenizer(), "feature_extractor": extractor}

    return build


def with_names(build, *names):
    def named(seed):
        model, *parts = build()
        return model, dict(zip(names, parts, strict=True))

    return named


def whisper(seed):
    model, tokenizer, extractor = sounds.whisper(seed=seed % 3, longest=20)
    return model, {"tokenizer": tokenizer, "feature_extractor": extractor}


def mel(seed):
    model, extractor = sounds.wav2vec2_bert()
    return model, {"tokenizer": sounds.ctc_tokenizer(), "feature_extractor": extractor}


def parakeet(kind):
    def build(seed):
        model, tokenizer, extractor = transducers.transducer(kind, seed=seed % 3)
        return model, {"tokenizer": tokenizer, "feature_extractor": extractor}

    return build


def layoutlm(seed):
    model, tokenizer = pages.layoutlm(seed % 3)
    return model, {"tokenizer": tokenizer}


TOKENIZER_AND_SOUND, TOKENIZER_AND_PICTURE = ("tokenizer", "feature_extractor"), ("tokenizer", "image_processor")
LAYERED = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
# Task and model: how it is built, how an input is drawn, the options that are tried.
CASES = {
    ("automatic-speech-recognition", "wav2vec2, group norm"): (ctc(), a_sound, CTC),
    ("automatic-speech-recognition", "wav2vec2, layer norm"): (ctc(**LAYERED), a_sound, CTC),
    ("automatic-speech-recognition", "wav2vec2-bert"): (mel, a_real_sound, CTC),
    ("automatic-speech-recognition", "whisper"): (whisper, a_whisper_sound, WHISPER),
    ("automatic-speech-recognition", "whisper, long form"): (whisper, a_long_sound, WHISPER[1:3]),
    ("automatic-speech-recognition", "speech2text"): (
        with_names(sounds.speech2text, *TOKENIZER_AND_SOUND),
        a_mono_sound,
        [{"max_new_tokens": 6}, {"max_new_tokens": 4, "chunk_length_s": 0.6}],
    ),
    ("automatic-speech-recognition", "parakeet, tdt"): (parakeet("tdt"), a_mono_sound, TRANSDUCER),
    ("automatic-speech-recognition", "parakeet, rnn-t"): (parakeet("rnnt"), a_mono_sound, TRANSDUCER),
    ("audio-classification", "wav2vec2"): (
        with_names(sounds.sound_classifier, "feature_extractor"),
        a_mono_sound,
        [{}, {"top_k": 3}, {"function_to_apply": "sigmoid"}, {"batch_size": 4}],
    ),
    ("audio-classification", "ast"): (
        with_names(sounds.spectrogram_classifier, "feature_extractor"),
        a_mono_sound,
        [{}, {"top_k": 5}],
    ),
    ("zero-shot-audio-classification", "clap"): (
        with_names(sounds.clap, *TOKENIZER_AND_SOUND),
        a_mono_sound,
        [{"candidate_labels": WORDS[:4]}],
    ),
    ("text-to-audio", "vits"): (with_names(sounds.vits, "tokenizer"), a_question, [{}]),
    ("document-question-answering", "layoutlm"): (layoutlm, a_page, DOCUMENT),
    ("document-question-answering", "layoutlmv3"): (
        lambda seed: with_names(lambda: pages.layoutlmv3()[:2], "tokenizer")(seed),
        a_page,
        DOCUMENT,
    ),
    ("document-question-answering", "donut"): (
        with_names(pages.donut, *TOKENIZER_AND_PICTURE),
        a_picture_question,
        [{"build": {"max_new_tokens": 8}}],
    ),
    ("image-text-to-text", "llava, chats"): (with_names(pages.llava, "processor"), a_chat, PROMPT),
    ("any-to-any", "llava, chats"): (with_names(pages.llava, "processor"), a_chat, PROMPT),
    ("decision", "llama"): (with_names(pages.decider, "tokenizer"), a_request, [{}]),
    ("visual-question-answering", "vilt"): (
        with_names(pages.vilt, *TOKENIZER_AND_PICTURE),
        a_picture_question,
        [{}, {"top_k": 2}],
    ),
    ("visual-question-answering", "blip"): (
        with_names(pages.blip_questions, *TOKENIZER_AND_PICTURE),
        a_picture_question,
        [{"build": {"max_new_tokens": 5}}],
    ),
    ("image-to-text", "blip"): (
        with_names(pages.blip_captions, *TOKENIZER_AND_PICTURE),
        a_picture,
        [{"max_new_tokens": 5}, {"max_new_tokens": 5, "prompt": "the river"}],
    ),
}
REMOVED = ("visual-question-answering", "image-to-text")
RUN = [key for key in CASES if (key[0] in REMOVED) != V5]
SLOW = {"whisper": 10, "whisper, long form": 100, "speech2text": 10, "donut": 8, "layoutlmv3": 1}
# Sounds with context are of CTC models; a random Whisper's windows take seconds: fewer cases are drawn.
ITEMS = 12


@cache
def built(key, seed, options):
    model, parts = CASES[key][0](seed)
    return tuple(make(key[0], model=model, **parts, **dict(options)) for make in (of_transformers, pipeline))


def copied(item):
    return dict(item) if isinstance(item, dict) else item


def run(key, drawn, seed):
    """One call of some items. Returns how many there were, which differ and why, and how many were rounded apart: what
    is transformers' answer once the item has a batch of its own, as transformers runs it."""
    _, draw, choices = CASES[key]
    options = dict(drawn.choice(choices))
    build = options.pop("build", {})
    theirs, ours = built(key, seed, tuple(build.items()))
    count = 2 if "long form" in key[1] else 3 if key[1] == "whisper" else ITEMS
    # transformers cannot put sounds with and without a stride into one batch.
    draw = a_mono_sound if "batch_size" in options else draw
    items = [draw(drawn) for _ in range(count)]
    answers = []
    for pipe in (theirs, ours):
        torch.manual_seed(seed)
        np.random.seed(seed)
        answers.append(pipe([copied(item) for item in items], **options))
    wrong, apart = [], 0
    for number, (want, got) in enumerate(zip(*answers, strict=True)):
        try:
            same(want, got)
        except AssertionError as error:
            if "batch_size" not in options and _alone(ours, items[number], want, options, seed):
                apart += 1
            else:
                wrong.append((number, str(error)))
    return count, wrong, apart


def _alone(pipe, item, want, options, seed):
    """Whether the answer is what is wanted once the item's rows (its chunks, say) have a batch each."""
    torch.manual_seed(seed)
    np.random.seed(seed)
    try:
        same(want, pipe([copied(item)], batch_size=1, **options)[0])
    except AssertionError:
        return False
    return True


NOTE = """
Drawn sounds, pages, pictures, chats and requests answered by this package and by transformers' own pipeline, over tiny
random models; an answer differs in any text, label, time, span, count or order, or in a score by more than 4e-6 of 1 or
its size. "Rounded apart" are answers that are transformers' once every row runs in a batch of its own, as there: in the
one case the two best letters of a chunk's frame are 1e-5 apart. `python -m tests.programs.audio_pipeline_parity` prints
this table.
""".strip()


def write_section(path, version, seed, minutes, counts):
    """Put a run's counts in the document in place of its version's: {(task, model): (cases, wrong, rounded apart)}."""
    replace_section(
        path, f"## Audio and multimodal, transformers {version}", counts, seed=seed, minutes=minutes, note=NOTE
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2000, help="drawn inputs per task and model; of slow ones a part")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-k", default="", help="only tasks and models whose names hold the word; nothing is written")
    parser.add_argument("--write", type=Path, help="the document that takes the counts")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    warnings.simplefilter("ignore")
    if V5:  # transformers asks for torchvision here, which nothing needs
        import_module("transformers.pipelines.any_to_any").requires_backends = lambda *names: None
    print(f"transformers {transformers.__version__}, seed {arguments.seed}")
    counts = {}
    started = time.monotonic()
    for key in RUN:
        if arguments.k not in " ".join(key):
            continue
        drawn = random.Random(f"{arguments.seed} {key}")
        cases = wrong = apart = 0
        while cases < -(-arguments.cases // SLOW.get(key[1], 1)):
            count, differ, rounded = run(key, drawn, drawn.randrange(1000))
            cases += count
            wrong += len(differ)
            apart += rounded
            for number, reason in differ[:1]:
                print(f"  {key}: item {number}: {reason[:300]}")
        counts[key] = (cases, wrong, apart)
        print(f"{key[0]:34}{key[1]:24}{cases:>7}{wrong:>6}{apart:>6}", flush=True)
    minutes = (time.monotonic() - started) / 60
    if arguments.write and not arguments.k:
        write_section(arguments.write, transformers.__version__, arguments.seed, minutes, counts)
    return int(any(wrong for _, wrong, _ in counts.values()))


if __name__ == "__main__":
    sys.exit(main())
