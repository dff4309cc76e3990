"""sentence-transformers and setfit: our pooled features in place of the encoder's own."""

import numpy as np
import pytest

from afterlogits import pipeline

from .matrix import CLASSIFIER, TEXTS, compare

pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
from sentence_transformers import SentenceTransformer

try:
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
except ImportError:  # before version 6
    from sentence_transformers.models import Pooling, Transformer


def encoder(pooling):
    words = Transformer(CLASSIFIER)
    size = getattr(words, "get_embedding_dimension", getattr(words, "get_word_embedding_dimension", None))()
    return SentenceTransformer(modules=[words, Pooling(size, pooling_mode=pooling)], device="cpu")


def embeddings(pipe, texts):
    """[N, H]: the column of vectors as it is, without a list of lists between."""
    return pipe(list(texts), output="columns")["features"].numpy()


@pytest.mark.parametrize("normalize", [False, True])
@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
def test_embeddings(pooling, normalize):
    theirs = encoder(pooling)
    ours = pipeline("feature-extraction", CLASSIFIER, device="cpu", pooling=pooling, normalize=normalize)
    compare(
        "sentence-transformers",
        f"`encode`, {pooling} pooling{', normalized' if normalize else ''}",
        lambda: theirs.encode(TEXTS, normalize_embeddings=normalize),
        lambda: embeddings(ours, TEXTS),
        same=lambda a, b: np.allclose(a, b, atol=1e-5),
    )


def test_setfit():
    """A head of scikit-learn on embeddings: the body is our pipeline."""
    setfit = pytest.importorskip("setfit", reason="setfit is not installed")
    from sklearn.linear_model import LogisticRegression

    body = encoder("mean")
    head = LogisticRegression().fit(body.encode(TEXTS), [1, 0, 2, 2, 0, 1] * 4)
    embed = pipeline("feature-extraction", CLASSIFIER, device="cpu", pooling="mean")

    class Body:
        """What setfit asks of its body."""

        device = body.device

        def encode(self, texts, **_):
            return embeddings(embed, texts)

    theirs = setfit.SetFitModel(model_body=body, model_head=head)
    ours = setfit.SetFitModel(model_body=body, model_head=head)
    ours.model_body = Body()
    predict = lambda model: [int(label) for label in model.predict(TEXTS)]  # noqa: E731
    compare(
        "setfit", "`SetFitModel.predict` with our features as its body", lambda: predict(theirs), lambda: predict(ours)
    )
