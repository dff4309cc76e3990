"""Known defects of transformers' tasks: the result with ``compat=True`` beside the corrected one."""

import copy

import torch

from afterlogits.adapters import pipeline
from tests.builders.text_models import tiny_model, tiny_seq2seq, tokenizer_of, wordpiece


def pipe(task, tokenizer, head=None, **model_options):
    model = tiny_model(head or task, tokenizer, **model_options)
    return pipeline(task, model=model, tokenizer=tokenizer, device="cpu")


def test_a_question_answers_itself_only_with_compat():
    """Left padding: 4.57.6 blocks no token, so spans of the question are answers too; corrected, none is."""
    tokenizer = copy.deepcopy(wordpiece())
    tokenizer.padding_side = "left"
    found = pipe("question-answering", tokenizer)
    item = {"question": "unbelievable headquarters tokenizer bridge", "context": "Ada is in Paris."}
    theirs = found(item, top_k=200, align_to_words=False)
    corrected = found(item, top_k=200, align_to_words=False, compat=False)
    assert max(answer["end"] for answer in theirs) > len(item["context"])
    assert max(answer["end"] for answer in corrected) == len(item["context"])


def test_pads_move_answers_only_with_compat():
    """Left padding to a full window: 4.57.6 takes the characters of the token that stands as many places before."""
    tokenizer = copy.deepcopy(wordpiece())
    tokenizer.padding_side = "left"
    found = pipe("question-answering", tokenizer)
    with torch.no_grad():  # the model then gives a token the same logits wherever padding moves it
        found.model.bert.embeddings.position_embeddings.weight.zero_()
    item = {"question": "Where?", "context": "Ada is in Paris near the river"}

    def places(**options):
        answers = found(item, top_k=300, align_to_words=False, **options)
        answers = [answers] if isinstance(answers, dict) else answers
        return {(each["start"], each["end"]) for each in answers if each["score"] > 0}

    alone, padded = places(compat=False), places(compat=False, padding="max_length")
    assert len(alone) > 10 and alone <= padded
    assert not alone <= places(padding="max_length")


def test_the_end_of_an_answer_without_offsets():
    """4.57.6 names the last character before the next word, one short at the end of the context."""
    found = pipe("question-answering", tokenizer_of("characters", 64))
    context = "Ada  is in Paris"
    theirs, corrected = (found(question="Where", context=context, top_k=30, compat=compat) for compat in (True, False))
    ends = {(each["answer"], each["start"]): each["end"] for each in theirs}
    compared = set()
    for each in corrected:
        assert context[each["start"] : each["end"]] == each["answer"]
        behind = context[each["end"] :]
        next_word = each["end"] + len(behind) - len(behind.lstrip())
        key = (" ".join(each["answer"].split()), each["start"])
        if key in ends:
            assert ends[key] == next_word - 1
            compared.add(behind)
    assert "" in compared and len(compared) > 1


def test_max_length_counts_only_when_corrected():
    """4.57.6's own default of 256 new tokens outweighs the ``max_length`` of a call."""
    tokenizer = wordpiece()
    model = tiny_seq2seq(tokenizer)
    model.generation_config.eos_token_id = None
    model.config.eos_token_id = None
    found = pipeline("text2text-generation", model=model, tokenizer=tokenizer, device="cpu")
    theirs = found("Ada works", max_length=6, max_time=None, return_tensors=True, num_beams=1)
    corrected = found("Ada works", max_length=6, return_tensors=True, num_beams=1, compat=False)
    lengths = [len(each[0]["generated_token_ids"]) for each in (theirs, corrected)]
    assert lengths[0] > 6 and lengths[1] <= 6


def test_an_offset_mapping_of_its_own_only_when_corrected():
    """Transformers takes the mapping of the first text for every text."""
    tokenizer = wordpiece()
    found = pipe("ner", tokenizer, "token-classification")
    texts = ["Ada in", "Paris river"]
    mappings = [tokenizer(text, return_offsets_mapping=True)["offset_mapping"] for text in texts]
    count = min(map(len, mappings))
    assert len(mappings[0]) == len(mappings[1]) == count
    plain = found(texts, ignore_labels=[])
    theirs = found(texts, ignore_labels=[], offset_mapping=mappings)
    corrected = found(texts, ignore_labels=[], offset_mapping=mappings, compat=False)
    places = [[(each["start"], each["end"]) for each in result[1]] for result in (plain, theirs, corrected)]
    assert places[2] == places[0] != places[1]
    assert places[1] == [(each["start"], each["end"]) for each in plain[0]]


def test_words_are_the_tokenizers_own_only_when_corrected():
    """Without a space "Paris-Berlin" is one word by transformers' rule for BPE, three by the tokenizer's."""
    tokenizer = tokenizer_of("bytelevel", 64)
    found = pipe("ner", tokenizer, "token-classification", labels=("PER",))
    options = {"aggregation_strategy": "first", "ignore_labels": []}
    text = "Paris-Berlin"
    model_words = {word for word in tokenizer(text).word_ids() if word is not None}
    assert len(model_words) > 1
    with torch.no_grad():
        found.model.classifier.bias.zero_()
    theirs, corrected = found(text, **options)[0], found(text, compat=False, **options)[0]
    assert (theirs["start"], theirs["end"]) == (corrected["start"], corrected["end"]) == (0, len(text))
    # One group either way with one label; its score is a mean over words, so their number is told by the tokens.
    two = pipe("ner", tokenizer, "token-classification", labels=("B-PER",))
    assert len(two(text, **options)) == 1 and len(two(text, compat=False, **options)) == len(model_words)


def test_targets_that_tie_come_in_the_callers_order_only_when_corrected():
    """Transformers keeps targets in a set; corrected, equal targets are listed as they were given."""
    tokenizer = wordpiece()
    found = pipe("fill-mask", tokenizer)
    with torch.no_grad():
        for parameter in found.model.cls.parameters():
            parameter.zero_()
    targets = ["the", "Paris", "in", "river", "Ada"]
    for order in (targets, targets[::-1]):
        assert [each["token_str"] for each in found("Ada [MASK]", targets=order, compat=False)] == order
    theirs = [[each["token_str"] for each in found("Ada [MASK]", targets=order)] for order in (targets, targets[::-1])]
    assert set(theirs[0]) == set(targets) and theirs != [targets, targets[::-1]]
