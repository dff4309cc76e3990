"""Model outputs to answers: whole batches at once. Tensors in, columns out; no tokenizer, model or config."""

if __name__ != "afterlogits.postprocess":
    raise ImportError("import afterlogits.postprocess, not postprocess: a second copy of the package would be loaded")

from .classification import ClassScores, choose_function, classify
from .text.answers import (
    Answers,
    LocatedSpans,
    locate_spans,
    merge_answers,
    position_keys,
    text_keys,
    to_characters,
    token_spans,
    word_bounds,
)
from .text.choices import Choices, NextSentence, choose, follows
from .text.embeddings import pool, token_vectors
from .text.labels import LabelScheme, infer_scheme, read_labels
from .text.masked import Fillings, fill_mask, masked_positions
from .text.overlaps import merge_overlaps
from .text.sequence_scores import SequenceScores, label_logprobs, score_sequences
from .text.spans import SpanCandidates, select_spans
from .text.squad import SquadAnswers, select_squad_spans
from .text.subwords import entity_words, space_index, subwords_by_length, subwords_by_space
from .text.tables import CellAnswers, select_cells
from .text.tagging import Entities, group_entities
from .text.zero_shot import LabelScores, entailment_id, score_labels

__all__ = [
    "Answers",
    "CellAnswers",
    "Choices",
    "ClassScores",
    "Entities",
    "Fillings",
    "LabelScheme",
    "LabelScores",
    "LocatedSpans",
    "NextSentence",
    "SequenceScores",
    "SpanCandidates",
    "SquadAnswers",
    "choose",
    "choose_function",
    "classify",
    "entailment_id",
    "entity_words",
    "fill_mask",
    "follows",
    "group_entities",
    "infer_scheme",
    "label_logprobs",
    "locate_spans",
    "masked_positions",
    "merge_answers",
    "merge_overlaps",
    "pool",
    "position_keys",
    "read_labels",
    "score_labels",
    "score_sequences",
    "select_cells",
    "select_spans",
    "select_squad_spans",
    "space_index",
    "subwords_by_length",
    "subwords_by_space",
    "text_keys",
    "to_characters",
    "token_spans",
    "token_vectors",
    "word_bounds",
]
