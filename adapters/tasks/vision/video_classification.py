"""Labels for videos, as the video-classification pipeline of transformers 5.23: the first frames, evenly apart."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...media.videos import read_frames
from ...running.batching import Batch, WindowSizes
from ...running.inputs import as_call
from ...running.loaded import Loaded
from ...running.options import require_choice, require_count
from ...running.reading import Reading
from ...running.task import Call, Prepared, Task
from .classification import best_labels, label_columns, label_records, require_top_k
from .images import ImageOptions, Picture, image_row


@dataclass(frozen=True)
class VideoClassificationOptions(ImageOptions):
    top_k: int | None = None  # 5, as in transformers
    num_frames: int | None = None  # as many as the model was trained with
    frame_sampling_rate: int | None = None  # 1: frames that follow each other
    function_to_apply: str | None = None

    def __post_init__(self) -> None:
        require_top_k(self.top_k)
        require_count("num_frames", self.num_frames, optional=True)
        require_count("frame_sampling_rate", self.frame_sampling_rate, optional=True)
        require_choice("function_to_apply", self.function_to_apply, (None, "softmax", "sigmoid", "none"))


def read_videos(inputs: Any = None, *, videos: Any = None, **options: Any) -> Call:
    """``pipe(video)``, ``pipe([video, ...])`` or any iterable; a list of PIL images is one video."""
    inputs = videos if inputs is None else inputs
    if inputs is None:
        raise TypeError("inputs must be a video, a list, or an iterable of them; got None")
    if isinstance(inputs, np.ndarray | Tensor):
        return Call(list(inputs), "list", options) if inputs.ndim == 5 else Call([inputs], "single", options)
    if isinstance(inputs, list | tuple) and inputs and all(hasattr(frame, "convert") for frame in inputs):
        return Call([inputs], "single", options)
    return as_call(inputs, options) if not hasattr(inputs, "read") else Call([inputs], "single", options)


def parse(loaded: Loaded, item: Any, options: VideoClassificationOptions) -> Picture:
    """Its chosen frames [T] of arrays [H, W, 3]."""
    source = item["video"] if isinstance(item, Mapping) and "video" in item else item
    count = _frames_asked(loaded, options)
    indices = np.linspace(0, count * (options.frame_sampling_rate or 1) - 1, num=count, dtype=np.int64)
    frames = read_frames(
        source,
        indices.tolist(),
        allow_urls=options.allow_urls,
        timeout=options.timeout,
        input_data_format=options.input_data_format,
    )
    return Picture(frames, source)


def encode(loaded: Loaded, items: Sequence[Picture], options: VideoClassificationOptions) -> list[Prepared]:
    prepared = []
    for item in items:
        if loaded.video_processor is not None:
            encoded = loaded.video_processor(np.stack(item.image), return_tensors="pt", do_sample_frames=False)
        else:
            encoded = loaded.image_processor(list(item.image), return_tensors="pt")
        row = image_row({name: values[0] for name, values in encoded.items()})
        prepared.append(Prepared([row], item))
    return prepared


def _frames_asked(loaded: Loaded, options: VideoClassificationOptions) -> int:
    return int(options.num_frames or loaded.config.num_frames)


def forward(loaded: Loaded, batch: Batch, options: VideoClassificationOptions) -> Reading:
    """Scores of the best labels. A film with too few frames is an error only where the model makes one of it."""
    try:
        output = loaded.run(**batch.inputs)
    except RuntimeError as error:
        trained, shown = int(loaded.config.num_frames), batch.inputs["pixel_values"].shape[1]
        if shown == trained or isinstance(error, torch.cuda.OutOfMemoryError):
            raise
        raise ValueError(f"video must have {trained} frames for this model; got {shown}") from error
    kinds = {"regression": "none", "multi_label_classification": "sigmoid"}
    function = options.function_to_apply or kinds.get(loaded.config.problem_type, "softmax")
    return (yield from best_labels(loaded, output, function, options.top_k))


TASK = Task(
    name="video-classification",
    auto_classes=("AutoModelForVideoClassification",),
    options=VideoClassificationOptions,
    read=read_videos,
    parse=parse,
    encode=encode,
    forward=forward,
    finish=label_records,
    columns=label_columns,
    needs=("image_processor",),
    may_use=("video_processor",),
    unit="pixels",
    window_sizes=WindowSizes(2, 2, 8),
)
