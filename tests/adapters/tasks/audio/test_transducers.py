"""Transducers (TDT and RNN-T): transformers' texts, its processor's times of tokens, words made of them."""

import pytest
import torch
import transformers

from afterlogits import pipeline
from afterlogits.adapters.tasks.audio.transducer_recognition import joined_words
from tests.adapters.tasks.parity import check
from tests.builders.audio_models import noise
from tests.builders.transducers import transducer

pytestmark = pytest.mark.skipif(
    not transformers.__version__.startswith("5"), reason="transformers 4 has no transducers of this kind"
)
TASK = "automatic-speech-recognition"
CLIPS = [noise(seconds, seed) for seed, seconds in enumerate((0.6, 1.5, 2.5, 0.9, 1.5))]


def parts(kind, seed=0):
    model, tokenizer, extractor = transducer(kind, seed=seed)
    return model, {"tokenizer": tokenizer, "feature_extractor": extractor}


# What transformers' own loop says of a mode it does not know, and of rows beyond what it reads.
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["tdt", "rnnt"])
@pytest.mark.parametrize("options", [{}, {"batch_size": 3}, {"chunk_length_s": 1.0}, {"max_new_tokens": 5}], ids=str)
def test_texts_are_those_of_transformers(kind, options):
    found = [record["text"] for seed in range(2) for record in check(TASK, *parts(kind, seed), CLIPS, **options)]
    assert len(set(found)) > 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["tdt", "rnnt"])
def test_times_of_tokens_are_those_of_the_processor(kind):
    """transformers' pipeline fails on ``return_timestamps``; its processor reads the durations of generate."""
    seen = 0
    for seed in range(4):
        model, held = parts(kind, seed)
        recognise = pipeline(TASK, model=model, **held)
        processor = transformers.ParakeetProcessor(**held, blank_token="<blank>", decoder_type=kind)
        processor.blank_token_id = model.config.blank_token_id
        for sound in CLIPS:
            inputs = held["feature_extractor"](sound, sampling_rate=16_000, return_tensors="pt")
            output = model.generate(**inputs)
            _, (expected,) = processor.decode(output.sequences, durations=output.durations, skip_special_tokens=True)
            found = recognise(sound, return_timestamps="char")["chunks"]
            assert [(each["text"], *each["timestamp"]) for each in found] == [
                (each["token"], each["start"], each["end"]) for each in expected
            ]
            seen += len(found)
    assert seen > 40


@pytest.mark.filterwarnings("ignore")
def test_words_hold_their_pieces():
    model, held = parts("tdt")
    recognise = pipeline(TASK, model=model, **held)
    words = recognise(CLIPS[2], return_timestamps="word")
    pieces = recognise(CLIPS[2], return_timestamps="char")["chunks"]
    assert " ".join(word["text"] for word in words["chunks"]) == " ".join(words["text"].split())
    assert words["chunks"][0]["timestamp"][0] == pieces[0]["timestamp"][0]
    assert words["chunks"][-1]["timestamp"][1] == pieces[-1]["timestamp"][1]


def test_pieces_to_words():
    pieces = [(" the", 0.0, 0.1), ("se", 0.1, 0.2), (" ", 0.2, 0.2), (" sea", 0.3, 0.5), (".", 0.5, 0.5)]
    found = joined_words([{"text": text, "timestamp": (start, end)} for text, start, end in pieces])
    assert found == [{"text": "these", "timestamp": (0.0, 0.2)}, {"text": "sea.", "timestamp": (0.3, 0.5)}]


@pytest.mark.filterwarnings("ignore")
def test_times_of_chunks_are_refused():
    model, held = parts("tdt")
    with pytest.raises(ValueError, match="return_timestamps must be None for chunks of a transducer"):
        pipeline(TASK, model=model, **held)(CLIPS[0], return_timestamps="word", chunk_length_s=1.0)


@pytest.mark.filterwarnings("ignore")
def test_the_task_of_a_transducer_is_known():
    for kind in ("tdt", "rnnt"):
        model, held = parts(kind)
        assert pipeline(model=model, **held).task == TASK
    assert torch.is_grad_enabled()
