"""One pipeline, several threads with unlike options: every answer is the one the thread would get alone."""

import random
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from afterlogits.adapters import pipeline
from tests.builders import vision_models
from tests.builders.text_models import WORDS, tiny_decoder, tiny_model, wordpiece

pytestmark = pytest.mark.filterwarnings("ignore:Token indices sequence length")
NLI = ("contradiction", "neutral", "entailment")
THREADS = 8
ROUNDS = 25
# For each task two calls whose options set the tokenizer (or, for fill-mask, the model's hooks) in unlike ways.
CALLS = {
    "text-classification": [{"truncation": True, "max_length": 12}, {"truncation": True, "max_length": 48}],
    "feature-extraction": [
        {"tokenize_kwargs": {"truncation": True, "max_length": 5}},
        {"tokenize_kwargs": {"padding": "max_length", "max_length": 70, "truncation": True}},
    ],
    "fill-mask": [{"tokenizer_kwargs": {"truncation": True, "max_length": 16}}, {"top_k": 3}],
    "token-classification": [
        {"aggregation_strategy": "simple", "stride": 4},
        {"aggregation_strategy": "none"},
    ],
    "question-answering": [{"max_seq_len": 24, "doc_stride": 4}, {"max_seq_len": 60}],
    "zero-shot-classification": [
        {"candidate_labels": "a,b"},
        {"candidate_labels": "Paris, Berlin", "multi_label": True},
    ],
    "text-generation": [
        {"do_sample": False, "max_new_tokens": 3, "tokenizer_encode_kwargs": {"truncation": True, "max_length": 6}},
        {"do_sample": False, "max_new_tokens": 4, "prefix": "Paris is ", "num_beams": 2},
    ],
}


def item_of(task, drawn):
    words = drawn.choices(WORDS, k=drawn.randint(20, 50))
    if task == "question-answering":
        return {"question": "Where is Ada?", "context": " ".join(words)}
    return " ".join(["[MASK]", *words] if task == "fill-mask" else words)


@pytest.mark.parametrize("task", CALLS)
def test_threads_with_unlike_options_get_their_own_answers(task):
    tokenizer = wordpiece(64 if task == "token-classification" else 512)
    head = "text-classification" if task.startswith("zero") else task
    model = tiny_decoder(tokenizer) if task == "text-generation" else tiny_model(head, tokenizer, labels=NLI)
    call = pipeline(task, model=model, tokenizer=tokenizer, device="cpu")
    drawn = random.Random(task)
    work = [(item_of(task, drawn), options) for _ in range(ROUNDS) for options in CALLS[task]]
    expected = [call(item, **options) for item, options in work]
    with ThreadPoolExecutor(THREADS) as threads:
        found = list(threads.map(lambda each: call(each[0], **each[1]), work))
    assert sum(a != b for a, b in zip(found, expected, strict=True)) == 0


@pytest.mark.parametrize(
    ("task", "name"), [("zero-shot-image-classification", "clip"), ("zero-shot-object-detection", "owlvit")]
)
def test_labels_of_one_thread_are_not_those_of_another(task, name):
    """The labels' tokens are kept for the next picture; the threads change places as often as they can."""
    call = pipeline(task, **vision_models.parts(name), device="cpu")
    picture, labels = vision_models.picture(), [["cat"], ["dog", "red house"], ["a"], ["red", "dog", "cat"]]
    options = {"threshold": 0.0} if "detection" in task else {}
    expected = [call(picture, candidate_labels=each, **options) for each in labels]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(THREADS) as threads:
            work = [number % len(labels) for number in range(120)]
            found = list(threads.map(lambda each: call(picture, candidate_labels=labels[each], **options), work))
    finally:
        sys.setswitchinterval(before)
    assert sum(one != expected[number] for one, number in zip(found, work, strict=True)) == 0


def test_pipelines_that_share_a_tokenizer_share_its_lock():
    tokenizer = wordpiece(512)
    classify = pipeline("text-classification", model=tiny_model("text-classification", tokenizer), tokenizer=tokenizer)
    embed = pipeline("feature-extraction", model=tiny_model("feature-extraction", tokenizer), tokenizer=tokenizer)
    drawn = random.Random(1)
    texts = [item_of("text-classification", drawn) for _ in range(60)]
    cut = {"truncation": True, "max_length": 12}
    expected = [classify(text, **cut) for text in texts], [embed(text, return_tensors=True).shape for text in texts]
    with ThreadPoolExecutor(2) as threads:
        labels = threads.submit(lambda: [classify(text, **cut) for text in texts])
        shapes = threads.submit(lambda: [embed(text, return_tensors=True).shape for text in texts])
        assert (labels.result(), shapes.result()) == expected


def test_the_fast_head_of_one_thread_leaves_the_pass_of_another_alone():
    """The hook that fill-mask sets for its own pass is there while another thread runs the same model."""
    tokenizer = wordpiece(512)
    model = tiny_model("fill-mask", tokenizer)
    call = pipeline("fill-mask", model=model, tokenizer=tokenizer, device="cpu")
    inputs = tokenizer("the river is near", return_tensors="pt")
    shape = model(**inputs).logits.shape
    call("the [MASK]")
    with ThreadPoolExecutor(4) as threads:
        others = [threads.submit(call, "the [MASK] is near Paris") for _ in range(60)]
        assert {model(**inputs).logits.shape for _ in range(60)} == {shape}
        assert all(other.result() == others[0].result() for other in others)
