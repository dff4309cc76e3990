"""Outputs of models that read pictures with text: document spans over word boxes, visual answers, decisions.

Donut's tags to JSON stand here too; no model, tokenizer or picture is opened here.
"""

from .decisions import answer_question, option_probabilities
from .document_spans import DocumentAnswers, select_document_answers
from .donut import donut_answer, tags_to_json
from .visual_answers import VisualAnswers, visual_answers

__all__ = [
    "DocumentAnswers",
    "VisualAnswers",
    "answer_question",
    "donut_answer",
    "option_probabilities",
    "select_document_answers",
    "tags_to_json",
    "visual_answers",
]
