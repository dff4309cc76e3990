"""The vision checkpoints that ship: size, plain loading, the cards' figures on held-out scenes, the demonstration."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

from afterlogits import pipeline
from afterlogits.adapters.checkpoints import VISION, path
from afterlogits.adapters.checkpoints.training.pictures import demo_items, scenes
from afterlogits.adapters.checkpoints.training.pictures.evaluate import EVALUATIONS
from afterlogits.adapters.cli import demo_pictures

AUTO = {
    "shapes": "AutoModelForImageClassification",
    "shape-maps": "AutoModelForSemanticSegmentation",
    "shape-boxes": "AutoModelForObjectDetection",
    "distances": "AutoModelForDepthEstimation",
    "directions": "AutoModelForVideoClassification",
    "views": "AutoModelForKeypointMatching",
}


def _loaded(folder: str) -> Any:
    return getattr(transformers, AUTO[folder]).from_pretrained(path(folder)).eval()


def _card(folder: str) -> dict[str, float]:
    """The table of held-out figures in a card."""
    rows = re.findall(r"^\| (?!measure|---)(.+?) \| ([\d.]+) \|$", (path(folder) / "README.md").read_text(), re.M)
    return {measure: float(value) for measure, value in rows}


def test_all_of_them_take_at_most_three_megabytes() -> None:
    """Weights, processors, configurations and cards together, with the pictures of the demonstration."""
    files = [file for folder in VISION for file in path(folder).iterdir()]
    files += [file for file in demo_items.FOLDER.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 3_000_000


@pytest.mark.parametrize("folder", VISION)
def test_a_held_out_sample_agrees_with_the_card(folder: str) -> None:
    """A smaller draw of the same scenes: within 0.06 of the card, three standard errors of 300 boxes at 0.9 and up."""
    model = _loaded(folder)
    assert model.dtype == torch.float32
    found, stated = EVALUATIONS[folder](model, 100), _card(folder)
    assert set(found) == set(stated)
    for measure, value in found.items():
        assert value == pytest.approx(stated[measure], abs=0.06), measure


@pytest.mark.parametrize(
    "task",
    ["image-classification", "object-detection", "image-segmentation", "depth-estimation", "image-feature-extraction"],
)
def test_a_pipeline_without_a_model_takes_the_checkpoint(task: str) -> None:
    found = pipeline(task)(demo_items.FOLDER / "three.png")
    assert len(found)


def test_what_is_in_the_demonstration_s_pictures_is_seen(tmp_path: Path) -> None:
    """The names of one.png, the moving square, as many boxes and names as three.png has things, corners seen twice."""
    truth = json.loads((demo_items.FOLDER / "truth.json").read_text())
    assert pipeline("image-classification")(demo_items.FOLDER / "one.png")[0]["label"] == truth["one.png"][0]
    assert pipeline("video-classification")(str(demo_items.FOLDER / "clip"))[0]["label"] == truth["clip"]
    boxes = pipeline("object-detection")(demo_items.FOLDER / "three.png")
    assert sorted(box["label"] for box in boxes) == truth["three.png"]
    segments = {item["label"] for item in pipeline("image-segmentation")(demo_items.FOLDER / "three.png")}
    assert segments == {"ground", *(name.split()[1] for name in truth["three.png"])}
    matches = pipeline("keypoint-matching")([demo_items.FOLDER / "view-1.png", demo_items.FOLDER / "view-2.png"])
    assert truth["views"] / 2 < len(matches) <= truth["views"]


def test_the_demonstration_draws_every_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo_pictures.pictures(pipeline, tmp_path / "drawn")
    names = {file.name for file in (tmp_path / "drawn").iterdir()}
    assert names == {
        "classification.png",
        "detection.png",
        "segmentation.png",
        "depth.png",
        "video.png",
        "matching.png",
    }
    for file in (tmp_path / "drawn").iterdir():
        with Image.open(file) as picture:
            assert min(picture.size) >= 64
    assert str((tmp_path / "drawn").resolve()) in capsys.readouterr().out


def test_the_demonstration_shows_what_the_seed_draws() -> None:
    """The stored pictures are those that ``demo_items`` draws now, so that none was picked by hand."""
    files, truth = demo_items.drawn_items()
    assert json.loads((demo_items.FOLDER / "truth.json").read_text()) == json.loads(json.dumps(truth))
    for name, picture in files.items():
        with Image.open(demo_items.FOLDER / name) as stored:
            assert np.array_equal(np.asarray(stored), picture), name


def test_scenes_say_what_they_show() -> None:
    """The map and the depth of a scene agree with its things: the nearest thing that covers a pixel decides."""
    rng = np.random.default_rng(3)
    for _ in range(20):
        things = [scenes.thing(rng, distance=float(rng.uniform(1.2, 4.0))) for _ in range(3)]
        scene = scenes.draw(rng, things)
        nearest = np.full((scenes.SIZE, scenes.SIZE), 5.0, dtype=np.float32)
        for item in things:
            nearest = np.where(item.mask(), np.minimum(nearest, np.float32(item.distance)), nearest)
        assert np.array_equal(scene.depth, nearest)
        assert np.array_equal(scene.classes > 0, nearest < 5)
