"""datasets of pictures, pairs and films as the input of a pipeline: decoded or not, streamed, from folders."""

import numpy as np
import pytest

from afterlogits import pipeline

from .matrix import compare, counting, note

datasets = pytest.importorskip("datasets", reason="datasets is not installed")
Image = pytest.importorskip("PIL.Image", reason="Pillow is not installed")


def scene(number):
    """A red square on grey, further to the right the higher the number; two sizes by turns."""
    pixels = np.full((64, 64 + number % 2 * 4, 3), (90, 110, 90), dtype=np.uint8)
    pixels[20:44, 4 + 3 * number : 28 + 3 * number] = (210, 40, 40)
    return Image.fromarray(pixels)


PICTURES = [scene(number) for number in range(10)]


@pytest.fixture(scope="module")
def scenes():
    return datasets.Dataset.from_dict({"image": PICTURES, "name": [str(n) for n in range(10)]})


@pytest.fixture(scope="module")
def detect():
    return pipeline("object-detection", device="cpu")


def records(found):
    return [[(each["label"], each["box"]) for each in own] for own in found]


FORMS = {
    "the data set": lambda data: data,
    "its column": lambda data: data["image"],
    "of arrays": lambda data: data.with_format("numpy"),
    "of tensors": lambda data: data.with_format("torch"),
    "not decoded": lambda data: data.cast_column("image", datasets.Image(decode=False)),
    "streamed": lambda data: data.to_iterable_dataset(),
}


@pytest.mark.parametrize("form", FORMS)
def test_pictures_in_every_form_that_datasets_gives(scenes, detect, form):
    expected = records(detect(PICTURES))
    assert any(expected)
    with counting() as reached:
        assert records(detect(FORMS[form](scenes))) == expected
    note("datasets", f"pictures, {form}, as the pipeline's input", reached)


def test_key_dataset_as_in_transformers(scenes, detect):
    from transformers import pipeline as theirs
    from transformers.pipelines.pt_utils import KeyDataset

    shared = {"model": detect.model, "image_processor": detect.image_processor, "device": "cpu"}
    library, data = theirs("object-detection", **shared), KeyDataset(scenes, "image")
    run = lambda pipe: records(pipe(data, batch_size=1))  # noqa: E731
    compare("datasets", "`KeyDataset` of pictures", lambda: run(library), lambda: run(detect))


def test_columns_and_map(scenes, detect):
    expected = records(detect(PICTURES))
    columns = detect(scenes, output="columns")
    assert columns["box"].tolist() == [list(box.values()) for own in expected for _, box in own]
    counted = scenes.map(lambda batch: {"count": [len(own) for own in detect(batch["image"])]}, batched=True)
    assert counted["count"][:] == [len(own) for own in expected]


def test_a_folder_of_pictures_with_labels(tmp_path, detect):
    for number, each in enumerate(PICTURES[:4]):
        folder = tmp_path / "pictures" / ("even" if number % 2 == 0 else "odd")
        folder.mkdir(parents=True, exist_ok=True)
        each.save(folder / f"{number}.png")
    options = {"data_dir": str(tmp_path / "pictures"), "split": "train", "cache_dir": str(tmp_path / "cache")}
    expected = records(detect([PICTURES[number] for number in (0, 2, 1, 3)]))
    for streamed in (False, True):
        data = datasets.load_dataset("imagefolder", streaming=streamed, **options)
        assert records(detect(data)) == expected


def test_films_as_frames_and_as_folders(tmp_path):
    films = [[PICTURES[number] for number in numbers] for numbers in (range(8), range(8, 0, -1))]
    for number, frames in enumerate(films):
        (tmp_path / str(number)).mkdir()
        for place, frame in enumerate(frames):
            frame.save(tmp_path / str(number) / f"{place}.png")
    classify = pipeline("video-classification", device="cpu")
    folders = [str(tmp_path / str(number)) for number in range(2)]
    expected = classify(films)
    for column in (folders, films):
        assert list(classify(datasets.Dataset.from_dict({"video": column}))) == expected


def test_pairs_of_pictures():
    match, pairs = pipeline("keypoint-matching", device="cpu"), [PICTURES[0:2], PICTURES[2:4]]
    expected = match(pairs)
    assert list(match(datasets.Dataset.from_dict({"image": pairs}))) == expected
    with pytest.raises(ValueError, match=r"^item 0: a pair must hold two pictures; got dict$"):
        match([{"image": PICTURES[0], "name": "0"}])
