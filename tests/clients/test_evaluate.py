"""evaluate: ``evaluator(task).compute`` over a data set, with our pipeline and with a model's name under ``patch()``.

evaluate 0.4.6 asks transformers for classes that version 5 no longer has: it runs in the environment of version 4.
"""

import pytest
import transformers

from afterlogits import patch, pipeline

from .matrix import CLASSIFIER, QA, TEXTS, close, compare

evaluate = pytest.importorskip("evaluate", reason="evaluate is not installed")
datasets = pytest.importorskip("datasets", reason="datasets is not installed")
pytestmark = pytest.mark.skipif(
    not hasattr(transformers, "TFPreTrainedModel"), reason="evaluate 0.4.6 needs transformers 4: TFPreTrainedModel"
)
TIMES = ("total_time_in_seconds", "samples_per_second", "latency_in_seconds")


class Metric(evaluate.EvaluationModule):
    """A metric that needs no download, of a function."""

    name = "local"

    def __init__(self, work):
        self.work = work

    def compute(self, predictions=None, references=None, **_):
        return self.work(predictions, references)


def accuracy(predictions, references):
    return {"accuracy": sum(a == b for a, b in zip(predictions, references, strict=True)) / len(references)}


def exact(predictions, references):
    texts = [each["prediction_text"] for each in predictions]
    right = [each["answers"]["text"][0] for each in references]
    return {"exact": sum(a == b for a, b in zip(texts, right, strict=True)) / len(right), "texts": texts}


def untimed(found):
    return {name: value for name, value in found.items() if name not in TIMES}


@pytest.fixture(scope="module")
def judged():
    """A call of the evaluator of text classification for a pipeline or a model's name."""
    judge = evaluate.evaluator("text-classification")
    reviews = datasets.Dataset.from_dict({"text": TEXTS, "label": [1, 0, 1, 0, 0, 1] * 4})
    labels = pipeline("sentiment-analysis").model.config.label2id

    def run(pipe, **options):
        return untimed(judge.compute(pipe, data=reviews, metric=Metric(accuracy), label_mapping=labels, **options))

    return run


def test_a_pipeline(judged):
    theirs = transformers.pipeline("text-classification", CLASSIFIER, device="cpu")
    ours = pipeline("text-classification", CLASSIFIER, device="cpu")
    what = "`evaluator('text-classification')`"
    compare("evaluate", what, lambda: judged(theirs), lambda: judged(ours), same=close)


def test_a_model_s_name(judged):
    """``transformers.pipeline`` was bound when evaluate was imported, before the patch."""
    run = lambda: judged(CLASSIFIER, tokenizer=CLASSIFIER, device=-1)  # noqa: E731

    def ours():
        with patch():
            return run()

    compare("evaluate", "`evaluator` of a model's name under `patch()`", run, ours, same=close)


def test_question_answering():
    judge = evaluate.evaluator("question-answering")
    data = datasets.Dataset.from_dict(
        {
            "id": ["0", "1"],
            "question": ["Where does Anna Berg live?", "Where does Peter work?"],
            "context": ["Anna Berg is a baker. She lives in Oslo.", "Peter works for Siemens in Munich."],
            "answers": [{"text": ["Oslo"], "answer_start": [35]}, {"text": ["Siemens"], "answer_start": [16]}],
        }
    )
    theirs = transformers.pipeline("question-answering", QA, device="cpu")
    ours = pipeline("question-answering", QA, device="cpu")
    run = lambda pipe: untimed(judge.compute(pipe, data=data, metric=Metric(exact)))  # noqa: E731
    compare("evaluate", "`evaluator('question-answering')`", lambda: run(theirs), lambda: run(ours), same=close)
