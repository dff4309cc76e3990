"""lm-evaluation-harness: ``HFLM`` over an installed model."""

import pytest

from afterlogits import install

from .matrix import close, compare
from .models import decoder, tokenizer

pytest.importorskip("lm_eval", reason="lm-evaluation-harness is not installed")
from lm_eval.api.instance import Instance
from lm_eval.models.huggingface import HFLM

CONTEXTS = ["The baker", "Last week the", "In the morning they", "Anna", "It rained", "The hotel was"] * 2


@pytest.fixture(scope="module")
def both():
    made = []
    for prepare in (lambda model: model, install):
        made.append(HFLM(pretrained=prepare(decoder()), tokenizer=tokenizer(), batch_size=4, device="cpu"))
    return made


def generated(harness, options):
    requests = [
        Instance(request_type="generate_until", doc={}, arguments=(text, dict(options)), idx=index)
        for index, text in enumerate(CONTEXTS)
    ]
    return harness.generate_until(requests, disable_tqdm=True)


@pytest.mark.parametrize(
    "options",
    [
        {"until": ["."], "max_gen_toks": 16, "do_sample": False},
        {"until": [" the", ","], "max_gen_toks": 16, "do_sample": False},
        {"until": [], "max_gen_toks": 12, "do_sample": False, "num_beams": 3},
        {"until": ["."], "max_gen_toks": 12, "do_sample": True, "temperature": 0.8, "top_p": 0.9},
    ],
)
def test_generate_until(both, options):
    """Stop strings are a criterion of its own, which answers with a Python bool."""
    theirs, ours = both
    told = ", ".join(f"{name}={value}" for name, value in options.items())
    what = f"`generate_until`, {told}"
    compare("lm_eval", what, lambda: generated(theirs, options), lambda: generated(ours, options))


def test_loglikelihood(both):
    """Runs the model alone: what is installed under it must leave the forward pass as it is."""
    theirs, ours = both
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=(text, " was"), idx=index)
        for index, text in enumerate(CONTEXTS)
    ]
    expected = theirs.loglikelihood(requests, disable_tqdm=True)
    assert close(expected, ours.loglikelihood(requests, disable_tqdm=True))
