"""Draws what the demonstration shows of pictures: scenes and a clip that no training saw, with what is true of them.

    python -m afterlogits.adapters.checkpoints.training.pictures.demo_items

writes ``demo_pictures/`` beside the weights, so that the demonstration needs none of the training code.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator
from PIL import Image

from ..command import WEIGHTS
from . import scenes, views

SEED = 1
FOLDER = WEIGHTS / "demo_pictures"


def drawn_items() -> tuple[dict[str, scenes.Picture], dict[str, Any]]:
    """Pictures by file name, and the truth by task."""
    rng = np.random.default_rng(SEED)
    single = scenes.draw(rng, [scenes.thing(rng)])
    several = scenes.draw(rng, _three(rng))
    deep = scenes.draw(rng, [scenes.thing(rng, distance=distance) for distance in (3.4, 2.2, 1.5)])
    frames, direction = scenes.clip(rng)
    first, second = views.pair(rng)
    files = {"one.png": single.image, "three.png": several.image, "near-and-far.png": deep.image}
    files |= {"view-1.png": first.image, "view-2.png": second.image}
    files |= {f"clip/{number}.png": frame for number, frame in enumerate(frames)}
    truth = {
        "one.png": [scenes.NAMES[single.things[0].label]],
        "three.png": sorted(scenes.NAMES[item.label] for item in several.things),
        "near-and-far.png": {scenes.NAMES[item.label]: item.distance for item in deep.things},
        "clip": scenes.DIRECTIONS[direction],
        "views": int((first.inside & second.inside).sum()),
    }
    return files, truth


def _three(rng: Generator) -> list[scenes.Thing]:
    while len(things := scenes.apart(rng, 3)) < 3:
        continue
    return things


def write(folder: Path = FOLDER) -> None:
    """Every picture as a PNG, and ``truth.json``."""
    files, truth = drawn_items()
    for name, picture in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(path, optimize=True)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


if __name__ == "__main__":
    write()
