"""The small trained models that ship with the package; the programs in ``training/`` made them.

Each folder holds one model with its tokenizer or image processor and a card, and loads with ``from_pretrained``:

>>> from afterlogits.adapters.checkpoints import path
>>> path("ner").name
'ner'
>>> path("translation_en_to_fr").name
'seq2seq'
"""

from pathlib import Path

TEXT = ("language-model", "masked-lm", "ner", "nli", "question-answering", "sentiment", "seq2seq")
VISION = ("directions", "distances", "shape-boxes", "shape-maps", "shapes", "views")
AUDIO = ("sounds", "spoken-words")
MULTIMODAL = ("captions", "receipts", "visual-questions")
FOLDERS = (*TEXT, *VISION, *AUDIO, *MULTIMODAL)

_TASKS = {
    "question-answering": "question-answering",
    "token-classification": "ner",
    "ner": "ner",
    "text-classification": "sentiment",
    "sentiment-analysis": "sentiment",
    "zero-shot-classification": "nli",
    "fill-mask": "masked-lm",
    "feature-extraction": "masked-lm",
    "text-generation": "language-model",
    "text2text-generation": "seq2seq",
    "summarization": "seq2seq",
    "translation": "seq2seq",
    "audio-classification": "sounds",
    "automatic-speech-recognition": "spoken-words",
    "asr": "spoken-words",
    "forced-alignment": "spoken-words",
    "document-question-answering": "receipts",
    "image-to-text": "captions",
    "visual-question-answering": "visual-questions",
    "vqa": "visual-questions",
    "depth-estimation": "distances",
    "image-classification": "shapes",
    "image-feature-extraction": "shapes",
    "image-segmentation": "shape-maps",
    "keypoint-matching": "views",
    "object-detection": "shape-boxes",
    "semantic-segmentation": "shape-maps",
    "video-classification": "directions",
}


def ships(task: str) -> bool:
    """Whether a model for a task ships with the package.

    >>> ships("ner"), ships("mask-generation")
    (True, False)
    """
    return task in _TASKS


def path(task: str) -> Path:
    """The folder of the shipped model for a task: a pipeline's name for it, or the folder's own name.

    Raises ValueError for a task that no shipped model does.
    """
    known = {**{folder: folder for folder in FOLDERS}, **_TASKS}
    name = "translation" if task.startswith("translation_") and "_to_" in task else task
    if name not in known:
        raise ValueError(f"task must be one of {', '.join(sorted(known))} or translation_XX_to_YY; got {task!r}")
    return Path(__file__).parent / known[name]
