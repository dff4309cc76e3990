"""BERTopic: embeddings by our feature extraction, topics named by our generation and zero-shot classification."""

import numpy as np
import pytest
import transformers

from afterlogits import patch, pipeline

from .matrix import CLASSIFIER, DECODER, NLI, TEXTS, close, compare

pytest.importorskip("bertopic", reason="BERTopic is not installed")
from bertopic.backend._hftransformers import HFTransformerBackend
from bertopic.representation import TextGeneration, ZeroShotClassification


def test_embeddings():
    theirs = transformers.pipeline("feature-extraction", CLASSIFIER, device="cpu")
    ours = pipeline("feature-extraction", CLASSIFIER, device="cpu")
    run = lambda pipe: HFTransformerBackend(pipe).embed_documents(TEXTS)  # noqa: E731
    same = lambda a, b: np.allclose(a, b, atol=1e-5)  # noqa: E731
    compare(
        "bertopic", "`HFTransformerBackend` over feature-extraction", lambda: run(theirs), lambda: run(ours), same=same
    )


def test_topics_named_by_generation():
    theirs = transformers.pipeline("text-generation", DECODER, device="cpu")
    ours = pipeline("text-generation", DECODER, device="cpu")

    def run(pipe):
        options = {"do_sample": False, "max_new_tokens": 8}
        model = TextGeneration(pipe, prompt="The [KEYWORDS]", pipeline_kwargs=options)
        return [each["generated_text"] for each in model.model("The baker", **model.pipeline_kwargs)]

    compare("bertopic", "`TextGeneration`", lambda: run(theirs), lambda: run(ours))


class Topics:
    """What ``ZeroShotClassification`` needs of a topic model: its words of a topic."""


def test_topics_named_by_zero_shot():
    topics = {0: [("food", 0.5), ("waiter", 0.4)], 1: [("hotel", 0.6), ("staff", 0.3)]}

    def build():
        return ZeroShotClassification(["food", "travel"], model=NLI)

    theirs = build()
    with patch() as patched:
        ours = build()
    assert patched.built
    run = lambda model: model.extract_topics(Topics(), None, None, topics)  # noqa: E731
    compare("bertopic", "`ZeroShotClassification` under `patch()`", lambda: run(theirs), lambda: run(ours), same=close)
