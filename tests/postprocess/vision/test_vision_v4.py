"""The kernels against transformers 4.57.6: every family it has without torchvision (``make test-v4``)."""

import pytest

from tests.programs.vision_parity import FAMILIES

pytestmark = pytest.mark.v4
HEAVY = "Mask2Former"


@pytest.mark.parametrize("family", [*FAMILIES])
def test_transformers_4_gives_the_same(family):
    for seed in range(10 if HEAVY in family else 60):
        FAMILIES[family](seed)
