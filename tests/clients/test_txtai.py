"""txtai: entities, labels by zero-shot and by a classifier, and its LLM, which wrap ``transformers.pipeline``."""

import pytest

from afterlogits import patch

from .matrix import CLASSIFIER, DECODER, NER, NLI, TEXTS, close, compare

txtai = pytest.importorskip("txtai.pipeline", reason="txtai is not installed")


def both(what, build, call, **options):
    """Build once on each side, the second under ``patch()``, then call by turns."""
    theirs = build()
    with patch() as patched:
        ours = build()
    assert patched.built, "txtai did not build a pipeline of this package"
    compare("txtai", what, lambda: call(theirs), lambda: call(ours), **options)


def test_entities():
    both("`Entity`", lambda: txtai.Entity(NER, gpu=False), lambda entity: entity(TEXTS), same=close)


def test_labels_that_come_with_the_call():
    """Passes ``truncation=True`` and ``num_workers=0``, which zero-shot swallows."""
    call = lambda labels: labels(TEXTS[:6], ["travel", "food", "weather"])  # noqa: E731
    both("`Labels`, zero-shot", lambda: txtai.Labels(NLI, gpu=False), call, same=close)


def test_labels_of_a_classifier():
    build = lambda: txtai.Labels(CLASSIFIER, gpu=False, dynamic=False)  # noqa: E731
    both("`Labels` of a classifier", build, lambda labels: labels(TEXTS), same=close)


def test_labels_quantized():
    """Sets ``pipeline.model`` to a model of 8-bit integers after construction."""
    build = lambda: txtai.Labels(CLASSIFIER, gpu=False, dynamic=False, quantize=True)  # noqa: E731
    both("`Labels(quantize=True)`, which sets the model", build, lambda labels: labels(TEXTS), same=close)


def test_its_language_model():
    build = lambda: txtai.LLM(DECODER, gpu=False)  # noqa: E731
    call = lambda llm: llm(["The baker", "Last week the"], maxlength=24, do_sample=False)  # noqa: E731
    both("`LLM`", build, call)
