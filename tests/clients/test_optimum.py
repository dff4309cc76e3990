"""optimum-onnx: ONNX sessions as the model of ``pipeline`` and of ``generate``.

optimum-onnx pins transformers 4: these run in the environment of version 4.
"""

import pytest
import torch
import transformers

from afterlogits import generate, install, pipeline

from .matrix import CLASSIFIER, DECODER, MASKED, NER, NLI, QA, SEQ2SEQ, TEXTS, close, compare
from .models import PROMPTS, tokenizer

optimum = pytest.importorskip("optimum.onnxruntime", reason="optimum-onnx is not installed")
CASES = {
    "text-classification": (CLASSIFIER, "ORTModelForSequenceClassification", TEXTS, {}),
    "token-classification": (NER, "ORTModelForTokenClassification", TEXTS, {"aggregation_strategy": "simple"}),
    "zero-shot-classification": (
        NLI,
        "ORTModelForSequenceClassification",
        TEXTS[:6],
        {"candidate_labels": ["travel", "food"]},
    ),
    "question-answering": (
        QA,
        "ORTModelForQuestionAnswering",
        [{"question": "Where does Anna Berg live?", "context": TEXTS[2]}] * 4,
        {},
    ),
    "fill-mask": (MASKED, "ORTModelForMaskedLM", ["The [MASK] was cold.", "Anna lives in [MASK]."], {}),
    "feature-extraction": (CLASSIFIER, "ORTModelForFeatureExtraction", TEXTS[:6], {}),
}


def session(kind, folder, **options):
    return getattr(optimum, kind).from_pretrained(folder, export=True, **options)


@pytest.mark.parametrize("task", CASES)
def test_a_session_as_the_model_of_a_pipeline(task):
    folder, kind, inputs, options = CASES[task]
    model = session(kind, folder)
    words = transformers.AutoTokenizer.from_pretrained(folder)
    theirs = transformers.pipeline(task, model=model, tokenizer=words, device="cpu")
    ours = pipeline(task, model=model, tokenizer=words, device="cpu")
    # transformers pads nothing without a batch size; a session computes in float32 either way.
    call = lambda pipe: pipe(inputs, **options)  # noqa: E731
    compare("optimum-onnx", f"`pipeline({task!r})` of {kind}", lambda: call(theirs), lambda: call(ours), same=close)


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("mode", ["greedy", "sampling", "beams"])
def test_a_session_generates(mode, cached):
    modes = {
        "greedy": {"do_sample": False},
        "sampling": {"do_sample": True, "top_k": 20},
        "beams": {"num_beams": 3, "do_sample": False},
    }
    model = session("ORTModelForCausalLM", DECODER, use_cache=cached, use_io_binding=False)
    inputs = tokenizer()(PROMPTS, return_tensors="pt", padding=True)
    options = {**inputs, "max_new_tokens": 12, **modes[mode]}
    options.pop("token_type_ids", None)
    what = f"`generate` of ORTModelForCausalLM, {mode}{'' if cached else ', no cache'}"
    theirs, ours = lambda: model.generate(**options).tolist(), lambda: generate(model, **options).tolist()
    compare("optimum-onnx", what, theirs, ours)


def test_a_session_of_an_encoder_decoder():
    words = transformers.AutoTokenizer.from_pretrained(SEQ2SEQ)
    model = session("ORTModelForSeq2SeqLM", SEQ2SEQ)
    inputs = words(TEXTS[:3], return_tensors="pt", padding=True)
    options = {**inputs, "max_new_tokens": 10, "num_beams": 2}
    options.pop("token_type_ids", None)
    theirs = lambda: model.generate(**options).tolist()  # noqa: E731
    installed = install(session("ORTModelForSeq2SeqLM", SEQ2SEQ))
    compare(
        "optimum-onnx",
        "`install` of ORTModelForSeq2SeqLM",
        theirs,
        lambda: installed.generate(**options).tolist(),
    )
    assert isinstance(installed, optimum.ORTModelForSeq2SeqLM) and torch.is_tensor(inputs["input_ids"])
