"""Families whose transformers' postprocessing needs torchvision: RF-DETR, SAM's merging, ZoeDepth, OmDet-Turbo.

Each runs in a process of its own, because torchvision changes which image processors transformers loads.
"""

import subprocess
import sys

import pytest

from tests import torchvision_oracle

needs_torchvision = pytest.mark.skipif(
    not torchvision_oracle.installed(),
    reason="torchvision is not installed (pip install --no-deps torchvision==0.28.*): an oracle, no dependency",
)


@needs_torchvision
def test_transformers_with_torchvision_gives_the_same():
    command = [sys.executable, "-m", "tests.programs.torchvision_parity", "--cases", "40"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
