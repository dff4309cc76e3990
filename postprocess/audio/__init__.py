"""Outputs of audio models to text, times and labels: tensors and plain lists in, columns out.

CTC, Whisper's timestamps and merges, alignments, subtitles; no model, tokenizer or sound file is opened here.
"""

from .ctc import CtcAlphabet, CtcTranscripts, collapse_chunks, collapse_ctc, ctc_alphabet, frame_ids
from .labels import TopLabels, choose_audio_function, top_labels

__all__ = [
    "CtcAlphabet",
    "CtcTranscripts",
    "TopLabels",
    "choose_audio_function",
    "collapse_chunks",
    "collapse_ctc",
    "ctc_alphabet",
    "frame_ids",
    "top_labels",
]
