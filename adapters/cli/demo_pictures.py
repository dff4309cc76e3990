"""The demonstration's part on pictures: what each model says of drawn scenes, as text and as files to look at."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .. import checkpoints
from .demo_text import percent, show, title

SCENES = Path(checkpoints.__file__).with_name("demo_pictures")


def pictures(pipeline: Any, folder: Path) -> None:
    """Every vision task with a checkpoint; answers drawn on their pictures go to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = json.loads((SCENES / "truth.json").read_text())
    for part in (classification, detection, segmentation, depth, video, matching):
        part(pipeline, truth, lambda result, name: _save(result, folder / name))
    show("see", f"the drawings are in {folder.resolve()}")


Save = Callable[[Any, str], None]


def classification(pipeline: Any, truth: Any, save: Save) -> None:
    title("Image classification")
    found = pipeline("image-classification")(SCENES / "one.png", top_k=3)
    show("in ", f"one.png, a {truth['one.png'][0]}")
    show("out", ", ".join(f"{label['label']} {percent(label['score'])}" for label in found))
    save(found, "classification.png")


def detection(pipeline: Any, truth: Any, save: Save) -> None:
    title("Object detection")
    found = pipeline("object-detection")(SCENES / "three.png")
    show("in ", f"three.png: {', '.join(truth['three.png'])}")
    for item in found:
        corners = ", ".join(str(item["box"][side]) for side in ("xmin", "ymin", "xmax", "ymax"))
        show("out", f"{item['label']} {percent(item['score'])} at {corners}")
    save(found, "detection.png")


def segmentation(pipeline: Any, truth: Any, save: Save) -> None:
    title("Image segmentation")
    found = pipeline("image-segmentation")(SCENES / "three.png")
    show("in ", f"three.png: {', '.join(truth['three.png'])}")
    for item in found:
        area = sum(item["mask"].histogram()[128:])
        show("out", f"{item['label']}, {area:,} pixels")
    save(found, "segmentation.png")


def depth(pipeline: Any, truth: Any, save: Save) -> None:
    title("Depth estimation")
    found = pipeline("depth-estimation")(SCENES / "near-and-far.png")
    said = ", ".join(f"a {name} at {distance:g}" for name, distance in truth["near-and-far.png"].items())
    show("in ", f"near-and-far.png: {said}; the ground at 5")
    values = found["predicted_depth"]
    show("out", f"distances from {float(values.min()):.1f} to {float(values.max()):.1f}")
    save(found, "depth.png")


def video(pipeline: Any, truth: Any, save: Save) -> None:
    title("Video classification")
    found = pipeline("video-classification")(str(SCENES / "clip"))
    show("in ", f"clip, eight frames of a square that moves {truth['clip']}")
    show("out", ", ".join(f"{label['label']} {percent(label['score'])}" for label in found))
    save(found, "video.png")


def matching(pipeline: Any, truth: Any, save: Save) -> None:
    title("Keypoint matching")
    found = pipeline("keypoint-matching")([SCENES / "view-1.png", SCENES / "view-2.png"])
    show("in ", f"view-1.png and view-2.png, one plane seen twice: {truth['views']} corners lie in both")
    sure = [match for match in found if match["score"] > 0.5]
    show("out", f"{len(found)} corners found again, {len(sure)} of them with a score above 50 %")
    for match in found[:3]:
        first, second = (
            f"{match[f'keypoint_image_{side}']['x']}, {match[f'keypoint_image_{side}']['y']}" for side in (0, 1)
        )
        show("out", f"{first} is {second} in the other, {percent(match['score'])}")
    save(found, "matching.png")


def _save(result: Any, path: Path) -> None:
    result.save(path)
