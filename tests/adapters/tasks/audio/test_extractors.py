"""Feature extractors without their loop over frames give the same features, and are left as they were."""

import numpy as np
import pytest
from transformers import SeamlessM4TFeatureExtractor, Wav2Vec2FeatureExtractor, audio_utils

from afterlogits.adapters.tasks.audio.extractors import quick, spectrogram
from tests.builders.audio_models import clap, noise, spectrogram_classifier, speech2text, wav2vec2_bert, whisper

EXTRACTORS = {
    "mel frames": lambda: wav2vec2_bert()[1],
    "pictures of sounds": lambda: spectrogram_classifier()[1],
    "text and sound": lambda: clap()[2],
    "speech to text": lambda: speech2text()[2],
    "whisper": lambda: whisper()[2],
}


@pytest.mark.parametrize("name", EXTRACTORS)
def test_features_are_the_same(name):
    extractor = EXTRACTORS[name]()
    changed = quick(extractor)
    for seconds in (0.3, 1.7):
        sound = noise(seconds, 3, extractor.sampling_rate)
        want, got = (
            one(sound, sampling_rate=extractor.sampling_rate, return_tensors="np") for one in (extractor, changed)
        )
        assert list(want) == list(got)
        for part in want:
            np.testing.assert_array_equal(got[part], want[part])


def test_only_extractors_with_the_loop_are_copied():
    plain = Wav2Vec2FeatureExtractor()
    assert quick(plain) is plain
    extractor = SeamlessM4TFeatureExtractor()
    changed = quick(extractor)
    assert changed is not extractor and "_extract_fbank_features" not in vars(extractor)
    assert type(changed) is type(extractor)


@pytest.mark.parametrize(
    "options",
    [
        {"power": 2.0, "log_mel": "dB", "db_range": 80.0},
        {"power": 1.0, "log_mel": "dB"},
        {"power": 1.0, "log_mel": "log10"},
        {"power": None},
        {"power": 3.0},
    ],
    ids=str,
)
def test_logarithms_and_powers(options):
    sound, window = noise(0.2), audio_utils.window_function(400, "hann")
    want = audio_utils.spectrogram(sound, window, 400, 160, **options)
    got = spectrogram(sound, window, 400, 160, **options)
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(got, want)
