"""The checkpoints that ship, each loaded once, with nothing but the Auto classes and the folder."""

from functools import cache
from typing import Any

import transformers
from transformers import AutoTokenizer

from afterlogits.adapters.checkpoints import path

AUTO = {
    "language-model": "AutoModelForCausalLM",
    "seq2seq": "AutoModelForSeq2SeqLM",
    "question-answering": "AutoModelForQuestionAnswering",
    "ner": "AutoModelForTokenClassification",
    "sentiment": "AutoModelForSequenceClassification",
    "nli": "AutoModelForSequenceClassification",
    "masked-lm": "AutoModelForMaskedLM",
}


@cache
def loaded(folder: str) -> tuple[Any, Any]:
    """The model and the tokenizer of a folder."""
    model = getattr(transformers, AUTO[folder]).from_pretrained(path(folder)).eval()
    return model, AutoTokenizer.from_pretrained(path(folder))
