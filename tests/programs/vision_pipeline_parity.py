"""Every vision task against transformers' own pipeline, on drawn pictures, for every family of models.

``python -m tests.programs.vision_pipeline_parity [--cases N] [--write docs/parity.md]`` prints the number of cases and
of mismatches per task and model, and writes them into the document: with transformers 5.23 the tasks that exist there,
with 4.57.6 the ones version 5 removed.
"""

import argparse
import base64
import copy
import io
import math
import random
import sys
import time
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import torch
import transformers
from packaging.version import Version
from PIL import Image

from afterlogits.adapters import pipeline
from tests.builders.vision_models import parts, picture, write_clip
from tests.programs.parity_page import replace_section

VERSION_4 = Version(transformers.__version__).major == 4
SIZES = ((64, 48), (48, 64), (64, 64), (50, 37))
LABELS = ["cat", "a big dog", "red", "square"]
SENTENCES = ["cat .", "a big dog .", "red ."]

DETECTION = [{"threshold": 0.0}, {"threshold": 0.12}, {"threshold": 0.18}, {}]

SEMANTIC = [{}, {"subtask": "semantic"}]
# Masks of random weights are weak: at these thresholds every model gives some segments.
OBJECTS = [
    {"threshold": 0.01, "mask_threshold": 0.05, "overlap_mask_area_threshold": 0.0},
    {"threshold": 0.2, "mask_threshold": 0.1, "overlap_mask_area_threshold": 0.3},
    {"subtask": "instance", "threshold": 0.01, "mask_threshold": 0.05},
    {"threshold": 0.01},
]

# The models of each task, and the options that are tried with each of them.
CASES = {
    "image-classification": {
        "vit": [{}, {"top_k": 2}, {"top_k": 0}, {"top_k": -1}, {"function_to_apply": "sigmoid", "top_k": 99}],
        "convnext": [{}, {"function_to_apply": "none"}],
    },
    "object-detection": {
        "yolos": DETECTION,
        "detr": DETECTION,
        "conditional_detr": [{"threshold": 0.49}, {}],
        "deformable_detr": [{"threshold": 0.49}, {}],
        "table_transformer": DETECTION,
        "rt_detr": [{"threshold": 0.0}, {"threshold": 0.15}],
        "d_fine": [{"threshold": 0.0}, {"threshold": 0.2}],
    },
    "zero-shot-object-detection": {
        "owlvit": [{"threshold": 0.45}, {"threshold": 0.0, "top_k": 5}, {"candidate_labels": "cat,red"}],
        "owlv2": [{"threshold": 0.5}, {"threshold": 0.5, "candidate_labels": ["dog"]}],
        "grounding_dino": [{"threshold": 0.5, "candidate_labels": SENTENCES}],
    },
    "zero-shot-image-classification": {
        "clip": [{}, {"hypothesis_template": "{}"}, {"candidate_labels": "ab"}],
        "siglip": [{}],
    },
    "image-segmentation": {
        **dict.fromkeys(("segformer", "beit", "upernet", "mobilevit", "dpt_segmentation"), SEMANTIC),
        "maskformer": [*OBJECTS, {}, {"subtask": "semantic"}],
        "mask2former": [*OBJECTS, {"subtask": "instance", "threshold": 0.01}, {"subtask": "semantic"}],
        "detr_segmentation": [*OBJECTS, {"subtask": "semantic"}],
        "eomt": [OBJECTS[0], OBJECTS[1], {"subtask": "semantic"}],
    },
    "depth-estimation": {"dpt_depth": [{}], "glpn": [{}], "depth_anything": [{}]},
    "image-to-image": {"swin2sr": [{}]},
    "keypoint-matching": {
        "superglue": [{}, {"threshold": 0.05}],
        "lightglue": [{}, {"threshold": 0.02}],
        "efficientloftr": [{}],
    },
    "image-feature-extraction": {"vit_features": [{}, {"pool": True}, {"return_tensors": True}]},
    "video-classification": {
        "videomae": [{}, {"num_frames": 4, "frame_sampling_rate": 3, "top_k": 2}],
        "timesformer": [{"function_to_apply": "sigmoid"}],
    },
}
IN_VERSION_4 = ("image-to-image",)
TASKS = [task for task in CASES if (task in IN_VERSION_4) == VERSION_4]


@cache
def clip(folder, seed):
    return write_clip(Path(folder) / f"{seed}.mp4", 8 + seed)


def draw_picture(drawn):
    """A picture of one of a few sizes, in one of the modes and forms that transformers reads."""
    width, height = drawn.choice(SIZES)
    found = picture(width, height, drawn.randrange(1000))
    mode = drawn.choice(("RGB", "RGB", "RGB", "L", "RGBA", "P", "CMYK", "1"))
    found = found.convert(mode)
    if drawn.random() < 0.8:
        return found
    exif = Image.Exif()
    exif[0x0112] = drawn.randint(1, 8)
    content = io.BytesIO()
    found.convert("RGB").save(content, "PNG", exif=exif)
    return base64.b64encode(content.getvalue()).decode()


def draw_item(task, drawn, folder):
    if task == "video-classification":
        return clip(folder, drawn.randrange(6))
    if task == "keypoint-matching":
        return [draw_picture(drawn), draw_picture(drawn)]
    return draw_picture(drawn)


@cache
def pipes(task, model):
    """transformers' pipeline and this one, over one model and its processors."""
    found = {**parts(model), "device": "cpu"}
    return transformers.pipeline(task, **found), pipeline(task, **found)


def answers(pipe, task, items, options):
    """What a pipeline gives for each item, or the exception that it raises."""
    if task.startswith("zero-shot"):
        options = {"candidate_labels": LABELS, **options}
    if task == "zero-shot-object-detection":  # it takes no list that holds pictures beside names of files
        labels = options.pop("candidate_labels")
        items = [{"image": item, "candidate_labels": labels} for item in items]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return list(pipe(list(items), **copy.deepcopy(options)))
        except Exception as error:
            return error


def equal(theirs, ours, tolerance=1e-6):
    """Equal labels, boxes, masks, order and counts; floats within ``tolerance`` of their size or of 1."""
    if isinstance(theirs, Image.Image):
        return theirs.size == ours.size and theirs.mode == ours.mode and theirs.tobytes() == ours.tobytes()
    if isinstance(theirs, torch.Tensor | np.ndarray):
        theirs, ours = torch.as_tensor(theirs), torch.as_tensor(ours)
        if theirs.shape != ours.shape or theirs.dtype != ours.dtype:
            return False
        if not theirs.is_floating_point():
            return torch.equal(theirs, ours)
        return torch.allclose(theirs, ours, rtol=tolerance, atol=tolerance, equal_nan=True)
    if isinstance(theirs, dict):
        same = isinstance(ours, dict) and set(theirs) == set(ours)
        return same and all(equal(theirs[name], ours[name], tolerance) for name in theirs)
    if isinstance(theirs, list | tuple):
        same = isinstance(ours, list | tuple) and len(theirs) == len(ours)
        return same and all(equal(a, b, tolerance) for a, b in zip(theirs, ours, strict=True))
    if isinstance(theirs, float | np.floating):
        near = abs(float(theirs) - ours) <= tolerance * max(1.0, abs(float(theirs)))
        return type(ours) is float and (near or (math.isnan(theirs) and math.isnan(ours)))
    return theirs == ours


def mismatches(task, model, items, options):
    """(items compared, descriptions of those that differ, how many more a forward pass alone had rounded apart).

    An item that differs runs again in a batch of its own, as transformers runs it: if it is equal then, only the
    model's last bit, which depends on the shape of its batch, had made the difference.
    """
    theirs_pipe, ours_pipe = pipes(task, model)
    theirs, found = answers(theirs_pipe, task, items, options), answers(ours_pipe, task, items, options)
    if isinstance(theirs, Exception) or isinstance(found, Exception):
        both = isinstance(theirs, Exception) and isinstance(found, Exception)
        return len(items), [] if both else [f"{task} {model} {options}: {theirs!r:.300} / {found!r:.300}"], 0
    if len(theirs) != len(found):
        return len(items), [f"{task} {model} {options}: {len(theirs)} results / {len(found)}"], 0
    tolerance = 1e-5 if "feature" in task else 1e-6
    differ = [number for number, pair in enumerate(zip(theirs, found, strict=True)) if not equal(*pair, tolerance)]
    alone = answers(ours_pipe, task, items, {**options, "batch_size": 1}) if differ else found
    wrong = [number for number in differ if not equal(theirs[number], alone[number], tolerance)]
    described = [
        f"{task} {model} {options}\n  theirs {theirs[number]!r:.600}\n  ours   {alone[number]!r:.600}"
        for number in wrong
    ]
    return len(items), described, len(differ) - len(wrong)


def count_mismatches(task, model, items, seed, folder):
    """(cases, mismatches, rounded apart) of one task with one model, 12 items a call; the first few are printed."""
    drawn = random.Random(f"{seed} {task} {model}")
    cases = wrong = rounded = 0
    options = CASES[task][model]
    each = max(2, -(-items // len(options)))
    for chosen in options:
        for first in range(0, each, 12):
            drawn_items = [draw_item(task, drawn, folder) for _ in range(max(2, min(12, each - first)))]
            count, differ, apart = mismatches(task, model, drawn_items, chosen)
            if wrong < 3:
                print(*differ[:3], sep="\n", end="\n" if differ else "", file=sys.stderr)
            cases, wrong, rounded = cases + count, wrong + len(differ), rounded + apart
    return cases, wrong, rounded


NOTE = """The number of drawn pictures (clips, pairs) answered by this package and by transformers' own pipeline of
the same name, over tiny random models, and how many answers differ: in any label, box, mask, pixel, point, count or
order, or in a score by more than 1e-6 (1e-5 for hidden states). "Rounded apart" are answers that are transformers' once
the picture runs in a batch of its own, as transformers runs it. The options are in
`tests/programs/vision_pipeline_parity.py`; `make parity-vision` prints these tables and writes this section."""


def write_section(path, version, seed, minutes, counts):
    """Put a run's counts in the document in place of its version's: {(task, model): (cases, wrong, rounded apart)}."""
    replace_section(path, f"## Vision, transformers {version}", counts, seed=seed, minutes=minutes, note=NOTE)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--cases", type=int, default=2000, help="drawn inputs per task, at least")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tasks", nargs="*", choices=TASKS, metavar="TASK", help="these tasks alone; nothing written")
    parser.add_argument("--write", type=Path, help="the document that takes the counts")
    parser.add_argument("--folder", type=Path, default=Path("/tmp"), help="for the clips that are drawn")
    arguments = parser.parse_args()
    transformers.utils.logging.set_verbosity_error()
    print(f"transformers {transformers.__version__}, seed {arguments.seed}")
    print(f"{'task':36}{'model':20}{'cases':>8}{'mismatches':>12}{'rounded apart':>15}{'minutes':>9}")
    counts = {}
    started = time.monotonic()
    for task in arguments.tasks or TASKS:
        items = -(-arguments.cases // len(CASES[task]))
        for model in CASES[task]:
            counts[task, model] = count_mismatches(task, model, items, arguments.seed, str(arguments.folder))
            minutes = (time.monotonic() - started) / 60
            print("{:36}{:20}{:8}{:12}{:15}{:9.1f}".format(task, model, *counts[task, model], minutes), flush=True)
    total, wrong, rounded = (sum(column) for column in zip(*counts.values(), strict=True))
    print(f"{'all':56}{total:8}{wrong:12}{rounded:15}{minutes:9.1f}")
    if arguments.write and not arguments.tasks:
        write_section(arguments.write, transformers.__version__, arguments.seed, minutes, counts)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
