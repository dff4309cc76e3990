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
from .confidence import (
    SegmentScores,
    character_confidences,
    frame_probabilities,
    score_segment,
    token_word_confidences,
    word_confidences,
)
from .ctc import collapse_chunks, collapse_ctc, frame_ids
from .ctc_beams import CtcBeam, CtcBeams, search_ctc_beams
from .ctc_transcripts import CtcAlphabet, CtcTranscripts, ctc_alphabet
from .dtw import Warping, warp
from .repairs import cut_chunk_loops, cut_loops, repair_chunks
from .resample import resample
from .silence import sound_spans
from .streaming import AgreementStream, CtcStream, StreamedWords
from .strides import Chunk, chunk_lengths, chunks_of, rescale_stride
from .subtitles import SUBTITLES, Cue, make_cues, to_json, to_srt, to_textgrid, to_tsv, to_vtt
from .timestamps import Segment, Transcript, WhisperOutput, decode_whisper
from .transducer import emission_frames
from .word_scores import HotWords, NgramCounts, NgramModel, PyctcdecodeModel, WordModel, read_arpa
from .word_splits import WhisperVocabulary, split_words

__all__ = [
    "SUBTITLES",
    "AgreementStream",
    "AlignmentAttentions",
    "Chunk",
    "CtcAlignment",
    "CtcAlphabet",
    "CtcBeam",
    "CtcBeams",
    "CtcStream",
    "CtcTranscripts",
    "Cue",
    "HotWords",
    "NgramCounts",
    "NgramModel",
    "PyctcdecodeModel",
    "Segment",
    "SegmentScores",
    "StreamedWords",
    "TopLabels",
    "Transcript",
    "Warping",
    "WhisperOutput",
    "WhisperVocabulary",
    "WordModel",
    "align_ctc",
    "character_confidences",
    "choose_audio_function",
    "chunk_lengths",
    "chunks_of",
    "collapse_chunks",
    "collapse_ctc",
    "ctc_alphabet",
    "cut_chunk_loops",
    "cut_loops",
    "decode_whisper",
    "emission_frames",
    "follow_beams",
    "frame_ids",
    "frame_probabilities",
    "join_by_overlap",
    "make_cues",
    "median_filter",
    "merge_overlaps_of_tokens",
    "read_arpa",
    "repair_chunks",
    "resample",
    "rescale_stride",
    "score_segment",
    "search_ctc_beams",
    "select_heads",
    "smooth_attentions",
    "sound_spans",
    "split_words",
    "to_json",
    "to_srt",
    "to_textgrid",
    "to_tsv",
    "to_vtt",
    "token_times",
    "token_word_confidences",
    "top_labels",
    "warp",
    "word_confidences",
]
