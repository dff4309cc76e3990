"""Model outputs to answers: whole batches at once. Tensors in, columns out; no tokenizer, model or config."""

if __name__ != "afterlogits.postprocess":
    raise ImportError("import afterlogits.postprocess, not postprocess: a second copy of the package would be loaded")

from .answers import (
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
from .choices import Choices, NextSentence, choose, follows
from .classification import ClassScores, choose_function, classify
from .embeddings import pool, token_vectors
from .labels import LabelScheme, infer_scheme, read_labels
from .masked import Fillings, fill_mask, masked_positions
from .overlaps import merge_overlaps
from .sequence_scores import SequenceScores, label_logprobs, score_sequences
from .spans import SpanCandidates, select_spans
from .squad import SquadAnswers, select_squad_spans
from .subwords import entity_words, space_index, subwords_by_length, subwords_by_space
from .tables import CellAnswers, select_cells
from .tagging import Entities, group_entities
from .zero_shot import LabelScores, entailment_id, score_labels

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
