"""datasets of recordings as the input of a pipeline: as bytes, as paths, as arrays, streamed, from folders."""

import io

import numpy as np
import pytest

from afterlogits import pipeline

from .matrix import compare, counting, note

datasets = pytest.importorskip("datasets", reason="datasets is not installed")
soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
RATE = 16_000


def tone(number):
    """A second and more of a tone that is higher the higher the number, in a little noise."""
    samples = np.arange(RATE + 800 * number) / RATE
    noise = np.random.default_rng(number).normal(scale=0.01, size=len(samples))
    return (0.4 * np.sin(2 * np.pi * (220 + 60 * number) * samples) + noise).astype(np.float32)


def flac(samples):
    held = io.BytesIO()
    soundfile.write(held, samples, RATE, format="FLAC", subtype="PCM_16")
    return held.getvalue()


FILES = [flac(tone(number)) for number in range(8)]
SAMPLES = [soundfile.read(io.BytesIO(each), dtype="float32")[0] for each in FILES]


@pytest.fixture(scope="module")
def classify():
    return pipeline("audio-classification", device="cpu")


def as_files(folder):
    paths = [folder / f"{number}.flac" for number in range(len(FILES))]
    for path, each in zip(paths, FILES, strict=True):
        path.write_bytes(each)
    return [str(path) for path in paths]


def audio(values):
    return datasets.Dataset.from_dict({"audio": values}).cast_column("audio", datasets.Audio(decode=False))


FORMS = {
    "bytes": lambda folder: audio([{"bytes": each, "path": None} for each in FILES]),
    "paths": lambda folder: audio(as_files(folder)),
    "their column": lambda folder: audio(as_files(folder))["audio"],
    "streamed": lambda folder: audio(as_files(folder)).to_iterable_dataset(),
    "arrays": lambda folder: datasets.Dataset.from_dict(
        {"audio": [{"array": each.tolist(), "sampling_rate": RATE} for each in SAMPLES]}
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_recordings_in_every_form_that_datasets_gives(tmp_path, classify, form):
    expected = classify(SAMPLES)
    assert len({each[0]["label"] for each in expected}) > 1
    with counting() as reached:
        assert list(classify(FORMS[form](tmp_path))) == expected
    note("datasets", f"recordings, {form}, as the pipeline's input", reached)


def test_key_dataset_as_in_transformers(classify):
    from transformers import pipeline as theirs
    from transformers.pipelines.pt_utils import KeyDataset

    shared = {"model": classify.model, "feature_extractor": classify.feature_extractor, "device": "cpu"}
    library = theirs("audio-classification", **shared)
    arrays = datasets.Dataset.from_dict({"audio": [{"raw": each, "sampling_rate": RATE} for each in SAMPLES]})
    data = KeyDataset(arrays.with_format("numpy"), "audio")
    run = lambda pipe: [[each["label"] for each in own] for own in pipe(data, batch_size=1)]  # noqa: E731
    compare("datasets", "`KeyDataset` of recordings", lambda: run(library), lambda: run(classify))


def test_recognition_of_files(tmp_path):
    recognize = pipeline("automatic-speech-recognition", device="cpu")
    assert list(recognize(audio(as_files(tmp_path)))) == recognize(SAMPLES)
