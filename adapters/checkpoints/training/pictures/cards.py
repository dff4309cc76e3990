"""Writes the README.md beside each vision checkpoint: what it is, what it learned from, what it gets right."""

import textwrap
from pathlib import Path
from typing import Any

from ..cards import history_of, save_card
from ..optimise import Schedule
from . import scenes, views

_ABOUT = {
    "shapes": (
        "A ResNet that names the one shape in a picture and its colour.",
        "AutoModelForImageClassification",
        "One thing on a shaded ground, anywhere in the picture, in one of four colours that vary a little.",
    ),
    "shape-maps": (
        "A SegFormer that says of every pixel whether it is ground, circle, square or triangle.",
        "AutoModelForSemanticSegmentation",
        "One to three things that do not overlap.",
    ),
    "shape-boxes": (
        "An RT-DETR that finds shapes, with their names and boxes.",
        "AutoModelForObjectDetection",
        "One to three things that do not overlap, with the corners of their boxes.",
    ),
    "distances": (
        "A GLPN that says how far away every pixel is: things that look larger are nearer, the ground is at 5.",
        "AutoModelForDepthEstimation",
        "One to three things at distances from 1.2 to 4, whose size says how near they are; nearer ones lie in front.",
    ),
    "directions": (
        "A VideoMAE that tells which way a square moves, of eight frames.",
        "AutoModelForVideoClassification",
        "A square of any colour that moves left, right, up or down by one or two pixels a frame.",
    ),
    "views": (
        "A SuperPoint and a LightGlue that find the corners of one view again in another, trained together.",
        "AutoModelForKeypointMatching",
        "Two views of a plane with up to 18 things: the second turned by at most 30 degrees, scaled by a quarter, "
        "moved by a tenth and tilted, in another light.",
    ),
}
_LIMITS = (
    "The model knows such drawings and nothing else: a photograph gets an answer that means nothing. It is there so "
    "that the package can be tried and tested offline, and is not meant for use on real pictures."
)


def write_card(
    name: str, folder: Path, model: Any, figures: dict[str, float], seed: int, plan: Schedule, spent: float
) -> None:
    """``spent``: seconds of one processor core that the training took."""
    about, auto, corpus = _ABOUT[name]
    side, drawn = {"directions": (scenes.FRAME_SIZE, "scenes"), "views": (views.SIZE, "views")}.get(
        name, (scenes.SIZE, "scenes")
    )
    corpus += f" Pictures of {side} x {side} pixels, drawn by `{drawn}.py`; no picture or weight is from elsewhere."
    size = sum(parameter.numel() for parameter in model.parameters())
    rows = "\n".join(f"| {measure} | {value:.3f} |" for measure, value in figures.items())
    history = (
        f"`python -m {__package__}.train` (`make train-vision`) makes all of them from seed {seed}. "
        + history_of(
            "pairs" if name == "views" else "pictures", plan.steps, plan.batch_size, plan.learning_rate, round(spent)
        )
    )
    text = f"""\
# {name}

{textwrap.fill(f"{about} {size:,} parameters. Part of afterlogits, Apache-2.0.", 120)}

```python
model = {auto}.from_pretrained(folder)
processor = AutoImageProcessor.from_pretrained(folder)
```

The weights are stored in float16; the configuration says float32, so that transformers 5 computes in float32, in which
the figures below were measured. (transformers 4 loads float32 by default.)

## What it learned from

{textwrap.fill(corpus, 120)}

## Held-out figures

| measure | value |
|---|---|
{rows}

## How it was trained

{textwrap.fill(history, 120)}

## Limits

{textwrap.fill(_LIMITS, 120)}
"""
    save_card(folder, text)
