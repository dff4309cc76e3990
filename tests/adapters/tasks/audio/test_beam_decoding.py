"""CTC with a decoder gives the texts and words of transformers' pipeline with it."""

import warnings

import pytest
import transformers

from afterlogits.adapters.tasks.audio.beam_decoding import _searchable
from tests.adapters.tasks.parity import check
from tests.builders.audio_models import ctc_tokenizer, noise, wav2vec2

TASK = "automatic-speech-recognition"
CLIPS = [noise(seconds, seed) for seed, seconds in enumerate((0.5, 1.3, 2.0))]
V5 = transformers.__version__.startswith("5")
only_5 = pytest.mark.skipif(not V5, reason="4.57.6 takes a decoder only beside a feature extractor of another name")


def parts():
    model, extractor = wav2vec2()
    return model, {"tokenizer": ctc_tokenizer(), "feature_extractor": extractor}


def letters():
    tokenizer = ctc_tokenizer()
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    return ["" if token == "<pad>" else " " if token == "|" else token for token in tokens]


class OwnDecoder:
    """Whatever has ``decode_beams`` is called as it is."""

    def decode_beams(self, logits, **options):
        best = logits.argmax(-1)
        words = [(str(index), (place, place + 1)) for place, index in enumerate(best[:3])]
        return [(" ".join(word for word, _ in words), None, words, 0.0, options.get("extra", 0.0))]


@only_5
@pytest.mark.parametrize("options", [{}, {"return_timestamps": "word"}, {"decoder_kwargs": {"extra": 1}}], ids=str)
def test_a_decoder_of_ones_own(options):
    check(TASK, *parts(), CLIPS, build={"decoder": OwnDecoder()}, **options)
    check(TASK, *parts(), CLIPS[2], build={"decoder": OwnDecoder()}, chunk_length_s=0.6, **options)


@pytest.fixture
def build_decoder():
    pyctcdecode = pytest.importorskip("pyctcdecode", reason="pyctcdecode is not installed: nothing to compare with")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pyctcdecode.build_ctcdecoder


@only_5
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_timestamps": "word"},
        {"decoder_kwargs": {"beam_width": 20, "hotwords": ["g'g"], "hotword_weight": 3.0}},
        {"chunk_length_s": 0.6, "return_timestamps": "word"},
        {"decoder_kwargs": {"prune_history": True}},
    ],
    ids=str,
)
def test_pyctcdecode(options, build_decoder):
    decoder = build_decoder(letters())
    assert _searchable(decoder, options.get("decoder_kwargs", {})) == ("prune_history" not in str(options))
    check(TASK, *parts(), CLIPS, build={"decoder": decoder}, **options)


def test_a_decoder_of_another_kind_is_refused():
    """Before a sound is read."""
    from types import SimpleNamespace

    from afterlogits.adapters.tasks.audio.recognition_options import RecognitionOptions, check

    loaded = SimpleNamespace(config=SimpleNamespace(model_type="wav2vec2"), model=object())
    for decoder in (5, "pyctcdecode", [1]):
        with pytest.raises(TypeError) as caught:
            check(loaded, RecognitionOptions(decoder=decoder))
        assert str(caught.value) == f"decoder must have decode_beams, as pyctcdecode's have it; got {decoder!r}"
