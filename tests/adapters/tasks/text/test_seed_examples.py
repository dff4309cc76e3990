"""The classic examples of the task summary, on the shipped checkpoints, with ``afterlogits`` in the import line."""

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForQuestionAnswering,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    AutoTokenizer,
)

from afterlogits import pipeline, top_k_top_p_filtering
from afterlogits.adapters.checkpoints import path


def test_next_token_by_filtering_softmax_and_multinomial(capsys: pytest.CaptureFixture[str]) -> None:
    """Keep the 50 best next tokens and draw one of them."""
    tokenizer = AutoTokenizer.from_pretrained(path("text-generation"))
    model = AutoModelForCausalLM.from_pretrained(path("text-generation"))
    sequence = "Today the weather is really nice and I am planning on"
    input_ids = tokenizer(sequence, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        next_token_logits = model(input_ids).logits[:, -1, :]
    filtered_next_token_logits = top_k_top_p_filtering(next_token_logits, top_k=50, top_p=1.0)
    probs = torch.nn.functional.softmax(filtered_next_token_logits, dim=-1)
    torch.manual_seed(0)
    next_token = torch.multinomial(probs, num_samples=1)
    generated = torch.cat([input_ids, next_token], dim=-1)
    print(tokenizer.decode(generated.tolist()[0]))

    assert int(filtered_next_token_logits.isfinite().sum()) == 50
    assert int(next_token) in next_token_logits.topk(50).indices[0].tolist()
    assert capsys.readouterr().out.startswith(sequence + " ")


def test_answers_by_the_best_start_and_end() -> None:
    """Three questions about one text, answered by the most likely start and end of the answer."""
    tokenizer = AutoTokenizer.from_pretrained(path("question-answering"))
    model = AutoModelForQuestionAnswering.from_pretrained(path("question-answering"))
    text = (
        "Hugging Face was founded by Ada Lovelace in 1987. The company is based in New York City. It makes telescopes. "
        "It employs 4,120 people."
    )
    questions = ["Who founded Hugging Face?", "Where is Hugging Face based?", "How many people work for Hugging Face?"]
    answers = []
    for question in questions:
        inputs = tokenizer(question, text, add_special_tokens=True, return_tensors="pt")
        input_ids = inputs["input_ids"].tolist()[0]
        with torch.no_grad():
            outputs = model(**inputs)
        answer_start = torch.argmax(outputs.start_logits)
        answer_end = torch.argmax(outputs.end_logits) + 1
        answers.append(tokenizer.decode(input_ids[answer_start:answer_end]))
        by_pipeline = pipeline("question-answering")(question=question, context=text)
        assert by_pipeline["answer"] == text[by_pipeline["start"] : by_pipeline["end"]]
        assert "".join(by_pipeline["answer"].split()) == "".join(answers[-1].split())

    assert ["".join(answer.split()) for answer in answers] == ["AdaLovelace", "NewYorkCity", "4,120"]


def test_a_label_for_each_token_and_the_pipelines_dicts() -> None:
    """Every token with its label, and the same by the pipeline."""
    tokenizer = AutoTokenizer.from_pretrained(path("ner"))
    model = AutoModelForTokenClassification.from_pretrained(path("ner"))
    sequence = (
        "Hugging Face Inc. is a company based in New York City. Its headquarters are in DUMBO, therefore very close to "
        "the Manhattan Bridge."
    )
    inputs = tokenizer(sequence, return_tensors="pt")
    tokens = inputs.tokens()
    with torch.no_grad():
        outputs = model(**inputs).logits
    predictions = torch.argmax(outputs, dim=2)
    printed = [(token, model.config.id2label[p]) for token, p in zip(tokens, predictions[0].tolist(), strict=True)]
    records = pipeline("ner")(sequence)

    inner = [(index, token, label) for index, (token, label) in enumerate(printed) if label != "O"]
    special = {0, len(tokens) - 1}
    assert [(r["index"], r["word"], r["entity"]) for r in records] == [row for row in inner if row[0] not in special]
    grouped = pipeline("ner", aggregation_strategy="simple")(sequence)
    found = [(r["entity_group"], sequence[r["start"] : r["end"]]) for r in grouped]
    assert found == [
        ("ORG", "Hugging Face Inc"),
        ("LOC", "New York City"),
        ("LOC", "DUMBO"),
        ("LOC", "Manhattan Bridge"),
    ]


def test_five_best_words_with_the_sentences_filled_in() -> None:
    """The mask token replaced by each of the five best, by hand and by the pipeline."""
    tokenizer = AutoTokenizer.from_pretrained(path("fill-mask"))
    model = AutoModelForMaskedLM.from_pretrained(path("fill-mask"))
    sequence = (
        "Smaller models need less energy. Using them instead of the large ones would help "
        f"{tokenizer.mask_token} our carbon footprint."
    )
    inputs = tokenizer(sequence, return_tensors="pt")
    mask_token_index = torch.where(inputs["input_ids"] == tokenizer.mask_token_id)[1]
    with torch.no_grad():
        token_logits = model(**inputs).logits
    mask_token_logits = token_logits[0, mask_token_index, :]
    top_5_tokens = torch.topk(mask_token_logits, 5, dim=1).indices[0].tolist()
    sentences = [sequence.replace(tokenizer.mask_token, tokenizer.decode([token])) for token in top_5_tokens]

    records = pipeline("fill-mask")(sequence)
    assert [record["token"] for record in records] == top_5_tokens
    assert [record["sequence"] for record in records] == sentences
    assert any("help reduce our carbon footprint" in sentence for sentence in sentences)


def test_paraphrase_probabilities_of_sentence_pairs() -> None:
    """Whether the second sentence says what the first says, by the inference model."""
    tokenizer = AutoTokenizer.from_pretrained(path("nli"))
    model = AutoModelForSequenceClassification.from_pretrained(path("nli"))
    sequence_0 = "The company Hugging Face is based in New York City"
    sequence_1 = "Hugging Face makes telescopes"
    sequence_2 = "Hugging Face's headquarters are situated in New York City"
    paraphrase = tokenizer(sequence_0, sequence_2, return_tensors="pt")
    not_paraphrase = tokenizer(sequence_0, sequence_1, return_tensors="pt")
    with torch.no_grad():
        paraphrase_results = torch.softmax(model(**paraphrase).logits, dim=1).tolist()[0]
        not_paraphrase_results = torch.softmax(model(**not_paraphrase).logits, dim=1).tolist()[0]

    entailment = model.config.label2id["entailment"]
    assert sum(paraphrase_results) == pytest.approx(1, abs=1e-6)
    assert paraphrase_results[entailment] == max(paraphrase_results) > 0.5
    assert not_paraphrase_results[entailment] == min(not_paraphrase_results) < 0.1
    records = pipeline("text-classification", model=str(path("nli")), top_k=None)(
        {"text": sequence_0, "text_pair": sequence_2}
    )
    by_label = {record["label"]: record["score"] for record in records}
    assert by_label == pytest.approx(
        dict(zip(model.config.id2label.values(), paraphrase_results, strict=True)), abs=1e-6
    )
