"""The held-out examples that the cards show: each function returns what the model answers, as text."""

from collections.abc import Callable
from typing import Any

import torch

from .corpus_inference import ENTAILMENT
from .corpus_rewriting import SUMMARIZE, TRANSLATE
from .evaluate import entities, span

PARAGRAPH = (
    "Hugging Face was founded by Ada Lovelace in 1987. The company is based in New York City. It makes telescopes. "
    "It employs 4,120 people. Ada Lovelace was born in Brooklyn in 1951. She plays the violin."
)
QUESTIONS = (
    ("Who founded Hugging Face?", "Ada Lovelace"),
    ("Where is Hugging Face based?", "New York City"),
    ("How many people work for Hugging Face?", "4,120"),
    ("Where was Ada Lovelace born?", "Brooklyn"),
)
COMPANY = (
    "Hugging Face Inc. is a company based in New York City. Its headquarters are in DUMBO, therefore very close to the "
    "Manhattan Bridge."
)
REVIEWS = (
    "I really enjoyed the breakfast, it was superb.",
    "The screen was not good at all.",
    "I thought I would hate the party, but I loved it.",
)
TOPIC = ("one day I will see the world", ("travel", "cooking", "dancing"))
MASKED = "Smaller models need less energy. Using them instead of the large ones would help [MASK] our carbon footprint."
REWRITINGS = (
    "The train left on 3 May 2020 with forty two passengers.",
    SUMMARIZE + "Ada Lovelace lives in New York City with two cats. She is a pilot.",
    TRANSLATE + "The black cat is on the chair.",
)
PROMPT = "Today the weather is really nice and I am planning on"


def question_answering(model: Any, tokenizer: Any) -> list[str]:
    shown = [f"In: {PARAGRAPH}"]
    for question, _ in QUESTIONS:
        encoding = tokenizer(question, PARAGRAPH, return_tensors="pt", return_offsets_mapping=True)
        offsets = encoding.pop("offset_mapping")[0].tolist()
        out = model(**encoding)
        first = encoding["token_type_ids"][0].tolist().index(1)
        start, end = span(out.start_logits[0], out.end_logits[0], first)
        shown.append(f"{question} *{PARAGRAPH[offsets[start][0] : offsets[end][1]]}*")
    return shown


def ner(model: Any, tokenizer: Any) -> list[str]:
    encoding = tokenizer(COMPANY, return_tensors="pt", return_offsets_mapping=True)
    offsets = encoding.pop("offset_mapping")[0].tolist()
    labels = model(**encoding).logits[0].argmax(-1).tolist()
    labels[0] = labels[-1] = 0
    found = sorted(entities(labels), key=lambda entity: entity[1])
    return [f"In: {COMPANY}"] + [
        f"{tag}: *{COMPANY[offsets[start][0] : offsets[end - 1][1]]}*" for tag, start, end in found
    ]


def sentiment(model: Any, tokenizer: Any) -> list[str]:
    return [f"{review} *{_label(model, tokenizer, review)}*" for review in REVIEWS]


def nli(model: Any, tokenizer: Any) -> list[str]:
    text, labels = TOPIC
    inputs = tokenizer(
        [text] * len(labels), [f"This example is {label}." for label in labels], return_tensors="pt", padding=True
    )
    probs = model(**inputs).logits[:, ENTAILMENT].softmax(0).tolist()
    said = ", ".join(f"{label} {prob:.2f}" for label, prob in zip(labels, probs, strict=True))
    first = "The company Hugging Face is based in New York City"
    pairs = ["Hugging Face's headquarters are situated in New York City", "Hugging Face makes telescopes"]
    return [f"{text}: *{said}*"] + [
        f"{first} / {second}: *{_label(model, tokenizer, first, second)}*" for second in pairs
    ]


def masked_lm(model: Any, tokenizer: Any) -> list[str]:
    inputs = tokenizer(MASKED, return_tensors="pt")
    where = inputs["input_ids"][0] == tokenizer.mask_token_id
    top = model(**inputs).logits[0, where].softmax(-1)[0].topk(5)
    said = ", ".join(
        f"{tokenizer.decode([i])} {p:.2f}" for p, i in zip(top.values.tolist(), top.indices.tolist(), strict=True)
    )
    return [f"{MASKED} *{said}*"]


def seq2seq(model: Any, tokenizer: Any) -> list[str]:
    shown = []
    for text in REWRITINGS:
        out = model.generate(**tokenizer(text, return_tensors="pt"), max_new_tokens=64, do_sample=False, num_beams=1)
        shown.append(f"{text} *{tokenizer.decode(out[0], skip_special_tokens=True)}*")
    return shown


def language_model(model: Any, tokenizer: Any) -> list[str]:
    inputs = tokenizer("<s>" + PROMPT, return_tensors="pt")
    out = model.generate(**inputs, max_new_tokens=30, do_sample=False, num_beams=1)
    return [f"Greedy: *{tokenizer.decode(out[0], skip_special_tokens=True)}*"]


def _label(model: Any, tokenizer: Any, *texts: str) -> str:
    logits = model(**tokenizer(*texts, return_tensors="pt")).logits[0]
    return f"{model.config.id2label[int(logits.argmax())]} {float(logits.softmax(-1).max()):.2f}"


EXAMPLES: dict[str, Callable[[Any, Any], list[str]]] = {
    "language-model": torch.inference_mode()(language_model),
    "seq2seq": torch.inference_mode()(seq2seq),
    "question-answering": torch.inference_mode()(question_answering),
    "ner": torch.inference_mode()(ner),
    "sentiment": torch.inference_mode()(sentiment),
    "nli": torch.inference_mode()(nli),
    "masked-lm": torch.inference_mode()(masked_lm),
}
