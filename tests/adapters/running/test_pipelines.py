"""Calls of ``pipeline``: inputs of every kind, order, memory, errors, options, columns, corrected results."""

import json
import pickle
import sys
import weakref

import pytest
import torch

from afterlogits.adapters import pipeline
from afterlogits.adapters.tasks.table import TASKS, find_task, task_names
from tests.builders.text_models import tiny_decoder, tiny_model, unigram, wordpiece

pytestmark = pytest.mark.filterwarnings("ignore:Token indices sequence length")
NLI = ("contradiction", "neutral", "entailment")


def pipe(task, head=None, tokenizer=None, where="cpu", **options):
    tokenizer = tokenizer or wordpiece()
    model = tiny_model(head or task, tokenizer, labels=NLI if task.startswith("zero") else LABELS)
    return pipeline(task, model=model, tokenizer=tokenizer, device=where, **options)


LABELS = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")


@pytest.fixture(scope="module")
def ner():
    return pipe("ner", "token-classification", aggregation_strategy="simple")


@pytest.fixture(scope="module")
def qa():
    return pipe("question-answering")


@pytest.fixture(scope="module")
def classify():
    return pipe("text-classification")


# Inputs and order


def test_a_list_a_tuple_a_generator_and_a_dataset_of_dicts_give_the_same(ner):
    texts = ["Ada works in Paris.", "Maria was in New York City", "x"] * 40
    expected = [ner(text) for text in texts[:3]] * 40

    class Dataset:
        def __len__(self):
            return len(texts)

        def __getitem__(self, index):
            return {"text": texts[index], "label": 1}

    assert close(ner(texts), expected)
    assert close(ner(tuple(texts)), expected)
    assert close(list(ner(text for text in texts)), expected)
    assert close(list(ner(Dataset())), expected)


def close(found, expected):
    """Equal but for the last bits of scores, which differ with the rows a text shares its batch with."""
    return json.loads(json.dumps(rounded(found))) == json.loads(json.dumps(rounded(expected)))


def rounded(value):
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value


def test_a_stream_is_read_as_it_is_consumed(ner):
    """After the first result at most two windows have been read, the one in the model and the one being tokenised."""
    read = []
    stream = ner(((read.append(i) or f"Ada {i}") for i in range(10_000)), ignore_labels=[])
    first = next(stream)
    stream.close()
    assert first[0]["word"].startswith("Ada")
    assert len(read) <= 32 + 64


def test_an_endless_stream_keeps_nothing(classify):
    """Results of the windows before are freed (32 + 64 items): the stream holds no reference to them."""

    def texts():
        while True:
            yield "the river"

    stream = classify(texts())
    seen = [weakref.ref(next(stream)) for _ in range(200)]
    assert sum(reference() is not None for reference in seen[:96]) == 0
    stream.close()


def test_questions_and_contexts_may_be_lists(qa):
    one = qa(question="Where is Ada?", context="Ada is in Paris.")
    assert close(qa(question=["Where is Ada?"] * 2, context="Ada is in Paris."), [one, one])
    assert close(qa([{"question": "Where is Ada?", "context": "Ada is in Paris."}]), one)
    assert close(qa("Where is Ada?", "Ada is in Paris."), one)


def test_results_are_plain_json_and_pickle(ner, qa, classify):
    for result in (ner("Ada in Paris"), qa("Where?", "Ada is in Paris."), classify(["a", "b"])):
        assert json.loads(json.dumps(result)) == result
        assert pickle.loads(pickle.dumps(result)) == result


def test_a_text_far_longer_than_the_window(ner):
    """Windows of 64 tokens over the whole text; offsets reach its end."""
    text = "Ada Lovelace works in Paris. " * 2_100
    found = ner(text[:60_000], stride=8, batch_tokens=4096)
    assert found[-1]["end"] > 59_000
    assert all(text[each["start"] : each["end"]].strip() for each in found[:50])


def test_zero_shot_takes_label_sets_of_each_item():
    zero_shot = pipe("zero-shot-classification", "text-classification")
    both = zero_shot(
        [{"text": "the river", "candidate_labels": ["a", "b", "c"]}, {"text": "Paris", "candidate_labels": "d, e"}]
    )
    assert [sorted(each["labels"]) for each in both] == [["a", "b", "c"], ["d", "e"]]
    assert close(both[1], zero_shot("Paris", candidate_labels=["d", "e"]))


def test_the_head_of_a_masked_model_sees_the_masked_positions_alone():
    fill = pipe("fill-mask")
    seen = []
    handle = fill.model.cls.register_forward_pre_hook(lambda module, inputs: seen.append(tuple(inputs[0].shape)))
    fill("the [MASK] is in Paris")
    seen.clear()
    fill(["the [MASK] is in Paris", "[MASK] was near [MASK]"])
    handle.remove()
    assert seen == [(1, 3, 32)]


# Errors


@pytest.mark.parametrize(
    ("task", "head", "inputs", "options", "error", "text"),
    [
        ("ner", "token-classification", "", {}, ValueError, "text must not be empty; got ''"),
        ("ner", "token-classification", [], {}, ValueError, "inputs must hold at least one text; got an empty list"),
        ("ner", "token-classification", 5, {}, TypeError, "text must be a string; got int"),
        ("ner", "token-classification", ["a", 5], {}, TypeError, "item 1: text must be a string; got int"),
        ("text-classification", None, ["a", ""], {}, ValueError, "item 1: text must not be empty; got ''"),
        (
            "text-classification",
            None,
            [["a", "b"]],
            {},
            ValueError,
            'item 0: a pair of texts must be a dict {"text": ..., "text_pair": ...}; got a list',
        ),
        (
            "zero-shot-classification",
            "text-classification",
            "a",
            {},
            ValueError,
            "candidate_labels must be given for zero-shot-classification; got None",
        ),
        (
            "zero-shot-classification",
            "text-classification",
            "a",
            {"candidate_labels": "b", "hypothesis_template": "none"},
            ValueError,
            "hypothesis_template must hold {} where the label goes; got 'none'",
        ),
        ("fill-mask", None, "no mask", {}, ValueError, "text must hold the mask token '[MASK]'; got 'no mask'"),
        (
            "question-answering",
            None,
            {"question": "a"},
            {},
            ValueError,
            "item must have a field 'context'; got fields 'question'",
        ),
        (
            "question-answering",
            None,
            {"question": "a", "context": ""},
            {},
            ValueError,
            "context must not be empty; got ''",
        ),
        (
            "ner",
            "token-classification",
            {"x": 1},
            {},
            ValueError,
            "item must have a field 'text' or 'inputs'; got fields 'x'",
        ),
        (
            "question-answering",
            None,
            {"question": "a", "context": "b"},
            {"max_answer_length": 2},
            TypeError,
            "unknown option 'max_answer_length' for question-answering; did you mean 'max_answer_len'?",
        ),
        (
            "question-answering",
            None,
            {"question": "a", "context": "b"},
            {"top_k": 0},
            ValueError,
            "top_k must be at least 1; got 0",
        ),
        (
            "ner",
            "token-classification",
            "a",
            {"batchsize": 2},
            TypeError,
            "unknown option 'batchsize' for token-classification; did you mean 'batch_size'?",
        ),
        (
            "ner",
            "token-classification",
            "a",
            {"aggregation_strategy": "mean"},
            ValueError,
            "aggregation_strategy must be one of 'none', 'simple', 'first', 'average', 'max'; got 'mean'",
        ),
        (
            "ner",
            "token-classification",
            "a",
            {"stride": 2, "aggregation_strategy": "none"},
            ValueError,
            "stride must come with an aggregation_strategy; got 'none'",
        ),
    ],
)
def test_bad_input_is_refused_in_these_words(task, head, inputs, options, error, text):
    with pytest.raises(error) as caught:
        pipe(task, head)(inputs, **options)
    assert str(caught.value) == text


def test_question_without_context_is_refused(qa):
    with pytest.raises(ValueError, match=r"^context must be given; got None$"):
        qa(question="Where?")


def test_a_task_unknown_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match=r"^unknown task 'question-answring'; did you mean 'question-answering'\?$"):
        pipeline("question-answring")


def test_a_model_without_span_logits_is_refused():
    tokenizer = wordpiece()
    model = tiny_model("token-classification", tokenizer)
    call = pipeline("question-answering", model=model, tokenizer=tokenizer, device="cpu")
    message = "model must give start_logits and end_logits for question-answering; got BertForTokenClassification"
    with pytest.raises(ValueError, match=f"^{message}$"):
        call(question="Where?", context="Ada is in Paris.")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device that torch lacks is asked for; this machine has it")
def test_a_device_that_torch_lacks_is_refused():
    with pytest.raises(ValueError, match=r"^device must be one that torch can use here; got 'cuda:0': "):
        pipe("ner", "token-classification", where="cuda:0")


@pytest.mark.skipif(torch.cuda.is_available(), reason="an ordinal without its accelerator is asked for")
@pytest.mark.parametrize("device", [0, 3, -1])
def test_an_ordinal_without_an_accelerator_is_the_cpu(device):
    assert pipe("ner", "token-classification", where=device).device == torch.device("cpu")


def test_a_device_of_no_kind_is_refused():
    with pytest.raises(ValueError, match=r"^device must be an ordinal or a device of torch; got 'gpu'$"):
        pipe("ner", "token-classification", where="gpu")


@pytest.mark.parametrize("task", ["multiple-choice", "next-sentence-prediction", "table-question-answering"])
def test_a_task_without_a_checkpoint_needs_a_model(task):
    with pytest.raises(ValueError, match=f"^model must be given for {task}: no checkpoint for it ships"):
        pipeline(task)


@pytest.mark.parametrize("device_map", ["cpu", {"": "cpu"}, torch.device("cpu")])
def test_a_map_of_one_device_needs_no_accelerate(device_map, tmp_path, monkeypatch):
    """transformers refuses any device_map without accelerate; one that names one device is read without it."""
    monkeypatch.setattr("transformers.utils.is_accelerate_available", lambda *_: False)
    tokenizer = wordpiece()
    tiny_model("token-classification", tokenizer).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    found = pipeline("ner", str(tmp_path), device_map=device_map)
    assert found.device == torch.device("cpu") and found("Ada") == pipeline("ner", str(tmp_path), device="cpu")("Ada")
    with pytest.raises(ValueError, match=r"^device and device_map must not both be given$"):
        pipeline("ner", str(tmp_path), device_map=device_map, device="cpu")


def test_a_tokenizer_without_mask_is_refused():
    with pytest.raises(ValueError, match="tokenizer must have a mask_token for fill-mask; got one without"):
        tokenizer = wordpiece(65)
        tokenizer.mask_token = None
        pipe("fill-mask", tokenizer=tokenizer)


def test_nan_logits_name_the_item(classify):
    """One text's embedding is NaN; the others in its batch are answered."""
    tokenizer = wordpiece()
    model = tiny_model("text-classification", tokenizer)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[tokenizer("Paris")["input_ids"][1]] = float("nan")
    broken = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    with pytest.raises(ValueError, match=r"^item 1: logits must be numbers; the model returned NaN$"):
        broken(["the river", "Paris", "near"])
    found = broken(["the river", "Paris", "near"], on_error="record")
    assert [set(each) for each in found] == [{"label", "score"}, {"error", "index"}, {"label", "score"}]


def test_one_bad_item_never_loses_the_others(ner):
    found = ner(["Ada in Paris", 5, "", "Maria"], on_error="record")
    assert found[1] == {"error": "text must be a string; got int", "index": 1}
    assert found[2] == {"error": "text must not be empty; got ''", "index": 2}
    assert close(found[3], ner("Maria"))


def test_a_row_the_model_cannot_take_fails_alone(classify):
    found = classify(["the river", "Paris " * 600, "near"], on_error="record")
    assert "error" in found[1]
    assert "label" in found[0] and "label" in found[2]


def test_a_failing_reader_stops_the_stream_with_its_own_error(ner):
    def texts():
        yield "Ada"
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        list(ner(texts()))


# Columns and corrected results


def test_columns_hold_the_records_side_by_side(ner):
    texts = ["Ada works in Paris.", "x"]
    records = ner(texts)
    columns = ner(texts, output="columns")
    assert columns["offsets"].tolist() == [0, len(records[0]), len(records[0]) + len(records[1])]
    assert columns["start"].tolist() == [each["start"] for result in records for each in result]
    assert columns["score"].dtype == torch.float64


def test_arrow_without_pyarrow_is_refused(ner, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r'^output="arrow" needs pyarrow; install it, or use output="columns"$'):
        ner(["Ada"], output="arrow")


@pytest.mark.parametrize(
    ("task", "items"),
    [
        ("token-classification", ["Ada works in Paris.", "x", "Maria was near the river"]),
        ("text-classification", ["Ada works in Paris.", "x"]),
        ("question-answering", [{"question": "Where?", "context": "Ada is in Paris."}] * 2),
    ],
)
def test_an_arrow_table_holds_the_records_and_their_items(task, items):
    """Every row of the table is a record, and ``item`` says whose; whole numbers are int64, scores float64."""
    pyarrow = pytest.importorskip("pyarrow", reason="pyarrow is not installed: no Arrow tables to compare")
    call = pipe(task, tokenizer=wordpiece())
    results = call(items)
    table = call(items, output="arrow")
    rows = [
        {"item": number, **record}
        for number, result in enumerate(results)
        for record in (result if isinstance(result, list) else [result])
    ]
    assert table.to_pylist() == rows
    assert table.schema.field("item").type == pyarrow.int64() and table.schema.field("score").type == pyarrow.float64()


def test_equal_answers_in_two_places_add_up_only_with_compat(qa):
    """4.57.6 adds the scores of equal texts, wherever they stand; corrected, each place counts for itself."""
    item = {"question": "Where?", "context": "Paris. " * 3}
    theirs = qa(item, top_k=20, max_answer_len=2)
    corrected = qa(item, top_k=20, max_answer_len=2, compat=False)
    assert len({answer["answer"].lower() for answer in theirs}) == len(theirs)
    places = [(answer["start"], answer["end"]) for answer in corrected]
    assert len(set(places)) == len(places) > len(theirs)
    assert max(answer["score"] for answer in corrected) <= 1.0


def test_labels_with_a_dash_keep_their_name_when_corrected():
    tokenizer = wordpiece()
    model = tiny_model("token-classification", tokenizer, labels=("date-time", "O"))
    with torch.no_grad():
        model.classifier.bias[0] = 1000.0  # every token is a "date-time"
    found = pipeline("ner", model=model, tokenizer=tokenizer, device="cpu", aggregation_strategy="simple")
    names = {each["entity_group"] for each in found("Ada works in Paris. Maria was near the river")}
    fixed = {each["entity_group"] for each in found("Ada works in Paris. Maria was near the river", compat=False)}
    assert "time" in names and "date-time" not in names
    assert "date-time" in fixed and "time" not in fixed


def test_the_words_of_entities_are_the_text_when_corrected():
    """Unigram words lose their spaces in transformers, which joins the pieces twice."""
    tokenizer = unigram()
    model = tiny_model("token-classification", tokenizer, labels=("PER",))
    found = pipeline("ner", model=model, tokenizer=tokenizer, device="cpu", aggregation_strategy="first")
    text = "Ada Lovelace works in New York City near the river"
    assert [each["word"] for each in found(text)] == [text.replace(" ", "")]
    assert [each["word"] for each in found(text, compat=False)] == [text]


def test_corrected_entities_leave_out_the_space_before_them():
    tokenizer = unigram()
    model = tiny_model("token-classification", tokenizer, labels=("PER", "O"))
    found = pipeline("ner", model=model, tokenizer=tokenizer, device="cpu", aggregation_strategy="first")
    text = "Ada Lovelace works in New York City near the river"
    for each in found(text, compat=False):
        assert each["word"] == text[each["start"] : each["end"]] == each["word"].strip()


def test_a_padding_tokenizer_of_the_left_does_not_answer_from_the_question_when_corrected():
    import copy

    tokenizer = copy.deepcopy(wordpiece())
    tokenizer.padding_side = "left"
    found = pipe("question-answering", tokenizer=tokenizer)
    item = {"question": "unbelievable headquarters tokenizer bridge", "context": "Ada is in Paris."}
    for answer in found(item, top_k=10, compat=False):
        assert answer["answer"] in item["context"] and answer["end"] <= len(item["context"])


def test_zero_shot_scores_stay_finite_when_corrected():
    tokenizer = wordpiece()
    model = tiny_model("text-classification", tokenizer, labels=NLI)
    with torch.no_grad():
        model.classifier.bias.fill_(100.0)
    zero_shot = pipeline("zero-shot-classification", model=model, tokenizer=tokenizer, device="cpu")
    labels = {"candidate_labels": ["a", "b"]}
    assert any(score != score for score in zero_shot("the river", **labels)["scores"])
    assert abs(sum(zero_shot("the river", compat=False, **labels)["scores"]) - 1) < 1e-6


# The table


def test_every_alias_finds_its_task():
    assert find_task("ner") is TASKS["token-classification"]
    assert find_task("sentiment-analysis") is TASKS["text-classification"]
    assert find_task("translation_en_to_fr") is TASKS["translation"]
    assert {"ner", "translation_xx_to_yy", *TASKS} <= set(task_names())


def test_the_model_must_fit_the_task():
    tokenizer = wordpiece()
    with pytest.raises(ValueError, match="model must be an encoder-decoder for summarization; got GPT2LMHeadModel"):
        pipeline("summarization", model=tiny_decoder(tokenizer), tokenizer=tokenizer, device="cpu")


def test_multiple_choice_scores_every_choice_of_each_item():
    tokenizer = wordpiece()
    choose = pipe("multiple-choice", tokenizer=tokenizer)
    items = [{"prompt": "the river is", "choices": ["in Paris", "near"]}, {"prompt": "Ada", "choices": ["x", "y", "z"]}]
    found = choose(items)
    for item, result in zip(items, found, strict=True):
        pairs = tokenizer([item["prompt"]] * len(item["choices"]), item["choices"], return_tensors="pt", padding=True)
        with torch.no_grad():
            expected = choose.model(**{name: value[None] for name, value in pairs.items()}).logits.softmax(-1)[0]
        assert torch.allclose(torch.tensor(result["scores"]), expected, atol=1e-5)
        assert result["answer"] == item["choices"][int(expected.argmax())]


def test_next_sentence_is_the_softmax_of_its_two_logits():
    tokenizer = wordpiece()
    follows = pipe("next-sentence-prediction", tokenizer=tokenizer)
    found = follows("the river is near", "Ada works in Paris")
    with torch.no_grad():
        encoded = tokenizer("the river is near", "Ada works in Paris", return_tensors="pt")
        expected = follows.model(**encoded).logits.softmax(-1)[0, 0].item()
    assert abs(found["score"] - expected) < 1e-6
    assert found["is_next"] == (expected >= 0.5)


@pytest.fixture
def unset_verbosity():
    """transformers' own verbosity, whatever a test before has set."""
    from transformers.utils import logging

    level = logging.get_verbosity()
    logging.set_verbosity_warning()
    yield
    logging.set_verbosity(level)


def test_a_shipped_checkpoint_is_loaded_without_a_word(capfd, unset_verbosity):
    """No bar and no table of weights that nobody asked about; who gives a path is told what transformers tells."""
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    pipeline("feature-extraction", device="cpu")
    assert capfd.readouterr() == ("", "")
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before
