"""What shares a batch or a call of the tokenizer with a text must not reach its answer, in any task."""

import copy

import pytest
import torch
import transformers

from afterlogits.adapters import pipeline
from afterlogits.adapters.checkpoints import path
from tests.builders.text_models import tiny_decoder, tiny_model, tokenizer_of, wordpiece
from tests.programs.pipeline_parity import equal

V4 = transformers.__version__.startswith("4.")
TEXTS = ["Ada works in Paris.", "the", "Maria was in New York City near the river"]
NLI = ("contradiction", "neutral", "entailment")


def pair(task, family="wordpiece", **options):
    """The pipeline of transformers and this one over one model; each has a tokenizer of its own."""
    tokenizer = copy.deepcopy(tokenizer_of(family))
    model = tiny_decoder(tokenizer) if task == "text-generation" else tiny_model(task, tokenizer)
    built = {"model": model, "device": "cpu", **options}
    library = transformers.pipeline(task, tokenizer=copy.deepcopy(tokenizer), **built)
    return library, pipeline(task, tokenizer=tokenizer, **built)


@pytest.mark.skipif(V4, reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize("padding", [True, "longest", "max_length", False, "do_not_pad"])
@pytest.mark.parametrize("multiple", [None, 8])
@pytest.mark.parametrize("family", ["wordpiece", "bytelevel", "characters"])
def test_pads_of_features_are_those_of_the_text_alone(family, multiple, padding):
    """7, 3 and 9 vectors come back as 7, 3 and 9 with ``padding=True``; padded to a multiple of 8 as 8, 8 and 16."""
    library, ours = pair("feature-extraction", family)
    given = {"padding": padding, "truncation": True, "max_length": 40, "pad_to_multiple_of": multiple}
    options = {"tokenize_kwargs": given, "return_tensors": True}
    expected = [library(text, **copy.deepcopy(options)).shape for text in TEXTS]
    assert [found.shape for found in ours(TEXTS, **options)] == expected
    if padding is True and multiple is None:
        assert len(set(expected)) == 3


@pytest.mark.skipif(V4, reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize(
    ("task", "option"),
    [
        ("text-classification", {"padding": True}),
        ("text-classification", {"padding": True, "pad_to_multiple_of": 8}),
        ("fill-mask", {"tokenizer_kwargs": {"padding": True}}),
        ("fill-mask", {"tokenizer_kwargs": {"padding": "longest", "pad_to_multiple_of": 4}}),
        ("text-generation", {"padding": True, "do_sample": False, "max_new_tokens": 4}),
        ("text-generation", {"padding": True, "do_sample": False, "max_new_tokens": 4, "return_tensors": True}),
    ],
)
def test_padding_of_a_call_changes_no_answer(task, option):
    library, ours = pair(task)
    texts = [f"{text} [MASK]" for text in TEXTS] if task == "fill-mask" else TEXTS
    found = ours(texts, **option)
    assert equal(
        [library(text, **option) for text in texts], found if task != "text-classification" else [[x] for x in found]
    )


def test_padding_of_answers_counts_the_windows_of_one_question():
    """Windows of a tokenizer that pads on the left move with the pads of their own question (compat)."""
    tokenizer = copy.deepcopy(wordpiece())
    tokenizer.padding_side = "left"
    call = pipeline(
        "question-answering", model=tiny_model("question-answering", tokenizer), tokenizer=tokenizer, device="cpu"
    )
    items = [
        {"question": "Where is Ada?", "context": text * count} for text, count in zip(TEXTS, (3, 1, 9), strict=True)
    ]
    options = {"padding": True, "max_seq_len": 30, "doc_stride": 6, "top_k": 3}
    assert equal([call(item, **options) for item in items], call(items, **options))


@pytest.mark.parametrize("task", ["multiple-choice", "next-sentence-prediction"])
def test_padding_of_pairs_changes_no_answer(task):
    tokenizer = wordpiece()
    call = pipeline(task, model=tiny_model(task, tokenizer), tokenizer=tokenizer, device="cpu")
    if task == "multiple-choice":
        items = [{"prompt": text, "choices": [text, "x"]} for text in TEXTS]
    else:
        items = [{"text": text, "text_pair": "x"} for text in TEXTS]
    assert equal(call(items), call(items, padding=True))


@pytest.mark.parametrize(
    "task", ["text-classification", "feature-extraction", "fill-mask", "token-classification", "text-generation"]
)
def test_a_text_in_a_batch_is_the_text_alone(task):
    """With batches of one, of two and of all; a neighbour of another length moves scores in the last bits alone."""
    tokenizer = wordpiece()
    model = tiny_decoder(tokenizer) if task == "text-generation" else tiny_model(task, tokenizer)
    call = pipeline(task, model=model, tokenizer=tokenizer, device="cpu")
    texts = [f"{text} [MASK]" for text in TEXTS] if task == "fill-mask" else TEXTS
    options = {"do_sample": False, "max_new_tokens": 4} if task == "text-generation" else {}
    alone = [call([text], **options) for text in texts]
    alone = [found if task == "fill-mask" else found[0] for found in alone]
    for size in (1, 2, 3, None):
        assert equal(alone, call(texts, batch_size=size, **options))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize:UserWarning")
def test_a_model_that_quantizes_by_the_range_of_its_batch_answers_row_by_row():
    """Dynamic quantization takes one scale for all rows: texts of a list are answered as each alone, unless asked."""
    tokenizer = wordpiece()
    model = tiny_model("text-classification", tokenizer)
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, dtype=torch.qint8)
    call = pipeline("text-classification", model=quantized, tokenizer=tokenizer, device="cpu")
    alone = [call(text)[0] for text in TEXTS]
    assert call(TEXTS) == alone
    assert call(TEXTS, batch_size=3) != alone


@pytest.mark.skipif(V4, reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize("strategy", ["none", "simple", "max"])
@pytest.mark.parametrize("left_out", [0, 1])
def test_a_mapping_of_the_callers_may_leave_out_special_tokens(left_out, strategy):
    """Only tokens of the text are looked up: the last special token needs no characters."""
    library, ours = pair("token-classification", aggregation_strategy=strategy, ignore_labels=[])
    text = "Ada works in Paris."
    tokens = len(ours.tokenizer(text)["input_ids"]) - left_out
    mapping = [(min(3 * place, 18), min(3 * place + 2, 19)) for place in range(tokens)]
    assert equal(library(text, offset_mapping=mapping), ours(text, offset_mapping=mapping))


def test_a_mapping_that_leaves_out_a_word_is_refused():
    tokenizer = wordpiece()
    model = tiny_model("token-classification", tokenizer)
    call = pipeline("token-classification", model=model, tokenizer=tokenizer, device="cpu")
    tokens = len(tokenizer("Ada works")["input_ids"])
    with pytest.raises(ValueError, match=rf"^offset_mapping must cover {tokens} tokens; got {tokens - 2}$"):
        call("Ada works", offset_mapping=[(0, 1)] * (tokens - 2))


def ids(records, name="generated_token_ids"):
    """The token ids of every record of a call, sequences of one text beside each other."""
    flat = [record for found in records for record in (found if isinstance(found, list) else [found])]
    return [torch.as_tensor(record[name]).tolist() for record in flat]


ARTICLES = [
    "Anna Berg is a baker. She lives in Oslo and works at night. Her brother Peter sells the bread on the market.",
    "It rained all day, so we stayed at home.",
    "The hotel was clean and the staff were friendly. The food was cold and the waiter was rude. We left after a week.",
]


def test_pads_of_generated_ids_stay_with_a_batch_size():
    """Rows of one batch are as long as its longest, as 4.57.6 returns them; ``compat=False`` ends each by itself.

    With batches of two the third text is alone: nothing pads it.
    """
    call = pipeline("text2text-generation", str(path("summarization")), device="cpu")
    options = {"return_tensors": True, "max_new_tokens": 40, "num_beams": 1}
    alone = [ids(call(text, **options))[0] for text in ARTICLES]
    assert len(alone[0]) != len(alone[1])
    together = ids(call(ARTICLES, batch_size=2, **options))
    longest = max(len(own) for own in alone[:2])
    pad = call.tokenizer.pad_token_id
    assert together == [own + [pad] * (longest - len(own)) for own in alone[:2]] + alone[2:]
    assert ids(call(ARTICLES, batch_size=2, compat=False, **options)) == alone


@pytest.mark.v4
@pytest.mark.skipif(not V4, reason="needs transformers 4.57.6: version 5 has no such pipeline")
@pytest.mark.parametrize("task", ["text2text-generation", "summarization", "translation_en_to_fr"])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("beams", [{"num_beams": 1}, {"num_beams": 3, "num_return_sequences": 2}], ids=str)
def test_pads_of_generated_ids_are_those_of_transformers(task, size, beams):
    """Greedily and with two beams a text."""
    model = str(path("summarization"))
    library, ours = (made(task, model=model, device="cpu") for made in (transformers.pipeline, pipeline))
    name = {"summarization": "summary_token_ids", "translation_en_to_fr": "translation_token_ids"}
    options = {"return_tensors": True, "max_new_tokens": 40, "batch_size": size, **beams}
    found = [ids(call(ARTICLES, **options), name.get(task, "generated_token_ids")) for call in (ours, library)]
    assert found[0] == found[1]


@pytest.mark.skipif(V4, reason="5.23 is the rule where the task exists in it")
@pytest.mark.parametrize("size", [None, 1, 2, 3])
def test_pads_of_prompts_and_continuations_are_those_of_transformers(size):
    """Token ids of a decoder hold what pads its batch on the left, and after an end token on the right."""
    tokenizer = copy.deepcopy(tokenizer_of("wordpiece"))
    tokenizer.padding_side = "left"
    parts = {"model": tiny_decoder(tokenizer), "tokenizer": tokenizer, "device": "cpu"}
    library, ours = transformers.pipeline("text-generation", **parts), pipeline("text-generation", **parts)
    end = ids(ours(TEXTS[1], return_tensors=True, max_new_tokens=9, do_sample=False))[0][-3]
    options = {"return_tensors": True, "max_new_tokens": 9, "do_sample": False, "eos_token_id": end}
    options |= {} if size is None else {"batch_size": size}
    assert ids(ours(TEXTS, **options)) == ids(library(TEXTS, **options))
