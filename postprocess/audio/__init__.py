"""Outputs of audio models to text, times and labels: tensors and plain lists in, columns out.

CTC, Whisper's timestamps and merges, alignments, subtitles; no model, tokenizer or sound file is opened here.
"""

from ..top_labels import TopLabels, choose_audio_function, top_labels
from .alignment import CtcAlignment, align_ctc
from .attention_times import (
    AlignmentAttentions,
    follow_beams,
    median_filter,
    select_heads,
    smooth_attentions,
    token_times,
)
from .chunk_merge import join_by_overlap, merge_overlaps_of_tokens
from .ctc import CtcAlphabet, CtcTranscripts, collapse_chunks, collapse_ctc, ctc_alphabet, frame_ids
from .ctc_beams import CtcBeam, CtcBeams, search_ctc_beams
from .dtw import Warping, warp
from .resample import resample
from .strides import Chunk, chunk_lengths, chunks_of, rescale_stride
from .timestamps import Segment, Transcript, WhisperOutput, decode_whisper
from .word_scores import HotWords, NgramCounts, NgramModel, PyctcdecodeModel, WordModel, read_arpa
from .word_splits import WhisperVocabulary, split_words

__all__ = [
    "AlignmentAttentions",
    "Chunk",
    "CtcAlignment",
    "CtcAlphabet",
    "CtcBeam",
    "CtcBeams",
    "CtcTranscripts",
    "HotWords",
    "NgramCounts",
    "NgramModel",
    "PyctcdecodeModel",
    "Segment",
    "TopLabels",
    "Transcript",
    "Warping",
    "WhisperOutput",
    "WhisperVocabulary",
    "WordModel",
    "align_ctc",
    "choose_audio_function",
    "chunk_lengths",
    "chunks_of",
    "collapse_chunks",
    "collapse_ctc",
    "ctc_alphabet",
    "decode_whisper",
    "follow_beams",
    "frame_ids",
    "join_by_overlap",
    "median_filter",
    "merge_overlaps_of_tokens",
    "read_arpa",
    "resample",
    "rescale_stride",
    "search_ctc_beams",
    "select_heads",
    "smooth_attentions",
    "split_words",
    "token_times",
    "top_labels",
    "warp",
]
