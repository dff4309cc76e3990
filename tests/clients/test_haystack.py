"""haystack: its components over transformers, built under ``patch()``; nothing of them is edited."""

import pytest

from afterlogits import patch

from .matrix import CLASSIFIER, DECODER, NER, NLI, TEXTS, close, compare

pytest.importorskip("haystack_integrations.components.extractors.transformers", reason="haystack is not installed")
from haystack import Document
from haystack.dataclasses import ChatMessage
from haystack.utils import ComponentDevice
from haystack_integrations.components.classifiers.transformers import (
    TransformersZeroShotDocumentClassifier,
)
from haystack_integrations.components.extractors.transformers import TransformersNamedEntityExtractor
from haystack_integrations.components.generators.transformers import TransformersChatGenerator
from haystack_integrations.components.routers.transformers import (
    TransformersTextRouter,
    TransformersZeroShotTextRouter,
)

CPU = ComponentDevice.from_str("cpu")
DOCUMENTS = [Document(content=text) for text in TEXTS[:12]]


def both(what, build, call, **options):
    """The component as it is, and one that was warmed up while transformers was patched."""
    theirs, ours = build(), build()
    theirs.warm_up()
    with patch() as patched:
        ours.warm_up()
    assert patched.built, "haystack did not build a pipeline of this package"
    compare("haystack-ai", what, lambda: call(theirs), lambda: call(ours), **options)


@pytest.mark.parametrize("batch_size", [1, 8])
def test_named_entities(batch_size):
    def call(extractor):
        found = extractor.run(documents=DOCUMENTS, batch_size=batch_size)["documents"]
        kept = [TransformersNamedEntityExtractor.get_stored_annotations(document) for document in found]
        return [[(each.entity, each.start, each.end, float(each.score)) for each in own] for own in kept]

    build = lambda: TransformersNamedEntityExtractor(model=NER, device=CPU)  # noqa: E731
    both(f"`TransformersNamedEntityExtractor`, batch_size={batch_size}", build, call, same=close)


def test_text_router():
    build = lambda: TransformersTextRouter(model=CLASSIFIER, device=CPU)  # noqa: E731
    both("`TransformersTextRouter`", build, lambda router: [router.run(text=text) for text in TEXTS[:6]])


def test_zero_shot_router():
    labels = ["travel", "food", "weather"]
    build = lambda: TransformersZeroShotTextRouter(labels=labels, model=NLI, device=CPU)  # noqa: E731
    both("`TransformersZeroShotTextRouter`", build, lambda router: [router.run(text=text) for text in TEXTS[:4]])


def test_zero_shot_documents():
    labels = ["travel", "food", "weather"]
    build = lambda: TransformersZeroShotDocumentClassifier(model=NLI, labels=labels, device=CPU)  # noqa: E731

    def call(classifier):
        found = classifier.run(documents=DOCUMENTS[:4])["documents"]
        return [document.meta["classification"]["label"] for document in found]

    both("`TransformersZeroShotDocumentClassifier`", build, call)


CHAT = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


@pytest.mark.parametrize("stop", [None, ["a"]])
def test_chat_generator(stop):
    """With stop words it passes a criterion of its own, which answers with a bool."""

    def build():
        return TransformersChatGenerator(
            model=DECODER,
            task="text-generation",
            device=CPU,
            stop_words=stop,
            chat_template=CHAT,
            generation_kwargs={"max_new_tokens": 12, "do_sample": False},
        )

    def call(generator):
        return [reply.text for reply in generator.run([ChatMessage.from_user("The baker")])["replies"]]

    both(f"`TransformersChatGenerator`{' with stop words' if stop else ''}", build, call)
