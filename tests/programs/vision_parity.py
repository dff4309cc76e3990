"""Drawn outputs of vision models, transformers' postprocessing against ours.

``python -m tests.programs.vision_parity``:

``--cases N`` draws N cases a family (2,000), ``-k WORD`` only families whose name holds the word, ``--seed`` the first
seed. Prints one line per family: cases, how many differ, and the first seed that does.
"""

from __future__ import annotations

import sys

from tests.postprocess.vision import drawn_detections, drawn_masks, drawn_points, drawn_segmentations
from tests.programs.drawn_parity import Check, command

DRAWN = (drawn_detections, drawn_segmentations, drawn_masks, drawn_points)
FAMILIES: dict[str, Check] = {name: check for drawn in DRAWN for name, check in drawn.CHECKS.items()}


if __name__ == "__main__":
    sys.exit(command(__doc__, FAMILIES))
