"""Marks of tests that hold for some versions alone, each with its reason; what is not marked holds for all of them."""

import pytest
import transformers

from afterlogits.decoding.kernels.torch_stream import stream_is_known

__all__ = ["V4", "known_stream", "rule_of_five", "stream_is_known"]

V4 = transformers.__version__.startswith("4.")
# Of what both versions of transformers have, the tokens and scores are those of 5.23.
rule_of_five = pytest.mark.skipif(V4, reason="5.23 is the rule where both versions have it, and 4.57.6 does otherwise")
# Such a build (2.4 from the index draws by MKL) is told at the first draw, and torch's own operations draw: the tokens
# are held to transformers' by test_other_builds.
known_stream = pytest.mark.skipif(not stream_is_known(), reason="this build of torch draws from another stream")
