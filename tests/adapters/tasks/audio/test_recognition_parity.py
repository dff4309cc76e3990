"""Speech recognition by models of every kind, drawn at random, gives transformers' texts, times and languages."""

import pytest
import transformers

from tests.adapters.tasks.parity import check
from tests.builders.audio_models import (
    ctc_tokenizer,
    noise,
    speech2text,
    wav2vec2,
    wav2vec2_bert,
    whisper,
)

TASK = "automatic-speech-recognition"
V5 = transformers.__version__.startswith("5")
CLIPS = [noise(seconds, seed) for seed, seconds in enumerate((0.5, 1.0, 1.3, 2.0, 1.0, 0.7))]
CTC_MODELS = {
    "group norm": wav2vec2,
    "masks": lambda: wav2vec2(feat_extract_norm="layer", do_stable_layer_norm=True),
    "mel frames": wav2vec2_bert,
}


def ctc(name):
    model, extractor = CTC_MODELS[name]()
    return model, {"tokenizer": ctc_tokenizer(), "feature_extractor": extractor}


@pytest.mark.parametrize("name", CTC_MODELS)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_timestamps": "word"},
        {"return_timestamps": "char"},
        {"chunk_length_s": 0.6, "return_timestamps": "word"},
        {"chunk_length_s": 0.5, "stride_length_s": (0.1, 0.05)},
        {"batch_size": 3},
        {"batch_size": 3, "chunk_length_s": 0.6},
    ],
    ids=str,
)
def test_ctc(name, options):
    """Batches without a size are those of rows alone; with a size the padding of a batch is decoded, as there."""
    found = check(TASK, *ctc(name), CLIPS, **options)
    assert any(len(record["text"]) > 3 for record in found)


def test_ctc_of_one_recording_with_context_and_company():
    """A stride of samples is cut from the frames, and times begin again after it; the dict's further keys come back."""
    given = {"raw": CLIPS[3], "sampling_rate": 16_000, "stride": (3000, 2000), "id": 7}
    found = check(TASK, *ctc("group norm"), given, return_timestamps="word")
    assert found["id"] == [7] and found["chunks"]


def test_ctc_of_a_stream_of_every_form():
    """Channels, whole numbers, float64 and tensors."""
    import numpy as np
    import torch

    def stream():
        yield CLIPS[0]
        yield np.stack([CLIPS[1], CLIPS[1] * 0.5])
        yield (CLIPS[2] * 2000).astype(np.int16)
        yield CLIPS[3].astype(np.float64)
        yield torch.from_numpy(CLIPS[4])

    found = check(TASK, *ctc("group norm"), stream)
    assert len(found) == 5


WHISPER_OPTIONS = [
    {},
    {"return_timestamps": True},
    {"return_timestamps": "word"},
    {"return_language": True},
    {"return_language": True, "return_timestamps": "word"},
    {"generate_kwargs": {"language": "fr", "task": "translate"}},
    {"generate_kwargs": {"num_beams": 1}, "return_timestamps": "word"},
    {"chunk_length_s": 3, "generate_kwargs": {"num_beams": 1}},
    {"chunk_length_s": 3, "return_timestamps": True, "generate_kwargs": {"num_beams": 1}},
    {"chunk_length_s": 3, "return_timestamps": "word", "generate_kwargs": {"num_beams": 1}},
    {"chunk_length_s": 3, "return_timestamps": True, "return_language": True, "generate_kwargs": {"num_beams": 1}},
]


def a_whisper(**options):
    model, tokenizer, extractor = whisper(longest=16, **options)
    return model, {"tokenizer": tokenizer, "feature_extractor": extractor}


@pytest.mark.skipif(not V5, reason="5.23 is the rule for speech recognition; 4.57.6 has other defaults")
@pytest.mark.parametrize("options", WHISPER_OPTIONS, ids=str)
def test_whisper(options):
    check(TASK, *a_whisper(), [noise(5.0, 4), noise(2.0, 2)], **options)


@pytest.mark.skipif(not V5, reason="5.23 is the rule for speech recognition; 4.57.6 has other defaults")
@pytest.mark.parametrize("times", [True, "word"])
def test_whisper_in_long_form(times):
    """Recordings beyond a window, side by side here and one by one there."""
    options = {"return_timestamps": times, "generate_kwargs": {"num_beams": 1}}
    check(TASK, *a_whisper(), [noise(33.0, 9), noise(64.0, 8)], **options)


@pytest.mark.skipif(not V5, reason="5.23 is the rule for speech recognition; 4.57.6 has other defaults")
@pytest.mark.parametrize("options", [{"max_new_tokens": 12}, {"max_new_tokens": 8, "chunk_length_s": 0.6}], ids=str)
def test_other_encoder_decoders(options):
    """transformers joins the chunks' tokens as they are: the strides that would call its merge get lost on the way."""
    model, tokenizer, extractor = speech2text()
    check(TASK, model, {"tokenizer": tokenizer, "feature_extractor": extractor}, CLIPS[:3], **options)


@pytest.mark.skipif(not V5, reason="transformers 4 cleans up the spaces of every vocabulary")
def test_spaces_before_marks_stay_in_a_byte_level_vocabulary():
    """The tokenizers of Whisper's checkpoints ask for clean-up; transformers 5 does not do it unless they insist."""
    from copy import deepcopy

    from afterlogits.adapters.tasks.audio.whisper_recognition import read_vocabulary

    model, tokenizer, extractor = whisper(longest=20)
    for insists in (False, True):
        asking = deepcopy(tokenizer)
        asking.clean_up_tokenization_spaces = True
        asking.clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output = insists
        ids = asking("the sea , and .", add_special_tokens=False)["input_ids"]
        vocabulary = read_vocabulary(asking)
        text = asking.decode(ids)
        assert text == ("the sea, and." if insists else "the sea , and .")
        assert vocabulary.read(ids) == text
        check(TASK, model, {"tokenizer": asking, "feature_extractor": extractor}, CLIPS[:2], return_timestamps="word")
