"""Visual answers: sigmoids, ranked as torch ranks them."""

import pytest
import torch
import transformers

from afterlogits.postprocess.multimodal import visual_answers

NAMES = [f"answer {i}" for i in range(3129)]


def test_sigmoid_of_two():
    """ln 3 gives 3/4, 0 gives 1/2."""
    found = visual_answers(torch.tensor([[0.0, 3.0]]).clamp_min(1).log(), top_k=9).records(["no", "yes"])
    assert found == [[{"score": pytest.approx(0.75), "answer": "yes"}, {"score": 0.5, "answer": "no"}]]


def test_as_the_pipeline_computes():
    """2,000 rows: torch's sigmoid and topk of each row alone, bit for bit, ties at 1.0 included."""
    generator = torch.Generator().manual_seed(0)
    for draw in range(250):
        count = int(torch.randint(1, 3130, (), generator=generator))
        logits = torch.randn(8, count, generator=generator) * 12
        top_k = min(count, (5, 1, 40)[draw % 3])
        expected = []
        for row in logits:
            scores, ids = row[None].sigmoid()[0].topk(top_k)
            expected.append(
                [{"score": s, "answer": NAMES[i]} for s, i in zip(scores.tolist(), ids.tolist(), strict=True)]
            )
        assert visual_answers(logits, top_k=top_k).records(NAMES) == expected


@pytest.mark.v4
@pytest.mark.skipif(
    not transformers.__version__.startswith("4."), reason="the pipeline left transformers with version 5"
)
def test_same_as_version_4():
    """The pipeline's own postprocess."""
    from types import SimpleNamespace

    from transformers.pipelines.visual_question_answering import VisualQuestionAnsweringPipeline

    config = SimpleNamespace(num_labels=3129, id2label=dict(enumerate(NAMES)))
    model = SimpleNamespace(config=config, can_generate=lambda: False)
    logits = torch.randn(20, 3129, generator=torch.Generator().manual_seed(1)) * 8
    found = visual_answers(logits).records(NAMES)
    for row, answers in zip(logits, found, strict=True):
        this = SimpleNamespace(model=model, framework="pt")
        expected = VisualQuestionAnsweringPipeline.postprocess(this, SimpleNamespace(logits=row[None]), top_k=5)
        assert answers == expected
