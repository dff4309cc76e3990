"""Detection by a query picture and by a sentence, against the processors of transformers (there is no pipeline)."""

import re

import pytest
import torch
import transformers

from afterlogits import pipeline
from tests.builders.vision_models import parts, picture

SIZES = ((64, 48), (48, 64), (64, 48))
PICTURES = [picture(width, height, seed) for seed, (width, height) in enumerate(SIZES)]
QUERY = picture(40, 40, 9)


def records(found, labels):
    rows = zip(found["scores"].tolist(), labels, found["boxes"].int().tolist(), strict=True)
    names = ("xmin", "ymin", "xmax", "ymax")
    return [{"score": s, "label": label, "box": dict(zip(names, box, strict=True))} for s, label, box in rows]


def same(theirs, ours):
    assert [(each["label"], each["box"]) for each in theirs] == [(each["label"], each["box"]) for each in ours]
    expected = torch.tensor([each["score"] for each in theirs])
    torch.testing.assert_close(torch.tensor([each["score"] for each in ours]), expected, rtol=1e-5, atol=1e-5)


def guided(model, threshold):
    held = parts(model)
    process = held["image_processor"]
    for image in PICTURES:
        inputs = process(image, return_tensors="pt")["pixel_values"]
        query = process(QUERY, return_tensors="pt")["pixel_values"]
        with torch.no_grad():
            outputs = held["model"].image_guided_detection(pixel_values=inputs, query_pixel_values=query)
        sizes = torch.tensor([[image.height, image.width]])
        found = process.post_process_image_guided_detection(outputs, threshold=threshold, target_sizes=sizes)
        yield records(found[0], ["query"] * len(found[0]["scores"])) if found else []


@pytest.mark.parametrize("model", ["owlvit", "owlv2"])
@pytest.mark.parametrize("threshold", [0.0, 0.6])
def test_a_query_picture_finds_what_transformers_finds(model, threshold):
    pipe = pipeline("image-guided-detection", **parts(model), device="cpu")
    ours = pipe(PICTURES, query_image=QUERY, threshold=threshold)
    for theirs, own in zip(guided(model, threshold), ours, strict=True):
        same(theirs, own)
    same(ours[0], pipe({"image": PICTURES[0], "query_image": QUERY}, threshold=threshold))


@pytest.mark.parametrize("thresholds", [(0.25, 0.25), (0.5, 0.6), (0.9999, 0.5)])
def test_a_sentence_finds_what_transformers_finds(thresholds):
    held = parts("grounding_dino")
    processor = transformers.GroundingDinoProcessor(held["image_processor"], held["tokenizer"])
    text = "cat . a big dog . red ."
    options = dict(zip(("threshold", "text_threshold"), thresholds, strict=True))
    ours = pipeline("grounded-detection", **held, device="cpu")(PICTURES, text=text, **options)
    for image, own in zip(PICTURES, ours, strict=True):
        inputs = processor(images=image, text=text, return_tensors="pt")
        with torch.no_grad():
            outputs = held["model"](**inputs)
        found = processor.post_process_grounded_object_detection(
            outputs, inputs["input_ids"], target_sizes=[(image.height, image.width)], **options
        )[0]
        same(records(found, found["text_labels"]), own)


def test_labels_become_a_sentence():
    pipe = pipeline("grounded-detection", **parts("grounding_dino"), device="cpu")
    assert pipe(PICTURES[0], text=["Cat ", "dog"]) == pipe(PICTURES[0], text="cat. dog.")


def test_a_sentence_that_finds_nothing():
    pipe = pipeline("grounded-detection", **parts("grounding_dino"), device="cpu")
    assert pipe(PICTURES[0], text="cat.", threshold=2.0) == []
    assert pipe(PICTURES, text="cat.", threshold=2.0) == [[], [], []]
    assert pipe(PICTURES, text="cat.", threshold=2.0, output="columns")["box"].shape == (0, 4)


def test_marks_of_the_tokenizer_are_no_words_when_corrected():
    options = {"text": "cat . a big dog . red .", "threshold": 0.25}
    labels = [
        [record["label"] for found in pipe(PICTURES, **options) for record in found]
        for pipe in (
            pipeline("grounded-detection", **parts("grounding_dino"), device="cpu", compat=compat)
            for compat in (True, False)
        )
    ]
    assert any("[SEP]" in label for label in labels[0])
    assert [label.replace("[SEP]", "").strip() for label in labels[0]] == labels[1]


def test_columns_of_a_sentence_are_its_records():
    pipe = pipeline("grounded-detection", **parts("grounding_dino"), device="cpu")
    options = {"text": "cat . a big dog .", "threshold": 0.3}
    records = [record for found in pipe(PICTURES, **options) for record in found]
    columns = pipe(PICTURES, **options, output="columns")
    assert columns["box"].tolist() == [list(record["box"].values()) for record in records]
    assert columns["label"] == [record["label"] for record in records]
    assert columns["score"].tolist() == [record["score"] for record in records]


def test_what_is_missing_is_named():
    pipe = pipeline("image-guided-detection", **parts("owlvit"), device="cpu")
    with pytest.raises(ValueError, match=r"^query_image must be given, with the picture or for all; got None$"):
        pipe(PICTURES[0])
    pipe = pipeline("grounded-detection", **parts("grounding_dino"), device="cpu")
    message = re.escape("text must be a text or a list of labels; got None")
    with pytest.raises(ValueError, match=f"^{message}$"):
        pipe(PICTURES[0])
