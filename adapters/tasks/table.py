"""One table: task name to model class, preparation, kernel and records. Each row is a file of its own."""

import copyreg

from ..running.exceptions import UnknownTaskError
from ..running.options import nearest_name
from ..running.task import Task
from .audio import audio_classification, forced_alignment, speech_recognition, text_to_audio, zero_shot_audio
from .multimodal import (
    any_to_any,
    decision,
    document_question_answering,
    image_text_to_text,
    image_to_text,
    visual_question_answering,
)
from .text import (
    choices,
    feature_extraction,
    fill_mask,
    question_answering,
    table_question_answering,
    text2text,
    text_classification,
    text_generation,
    token_classification,
    zero_shot,
)
from .vision import (
    depth_estimation,
    guided_detection,
    image_classification,
    image_feature_extraction,
    image_segmentation,
    image_to_image,
    keypoint_detection,
    keypoint_matching,
    mask_generation,
    object_detection,
    pose_estimation,
    video_classification,
    zero_shot_image_classification,
    zero_shot_object_detection,
)

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        speech_recognition.TASK,
        audio_classification.TASK,
        zero_shot_audio.TASK,
        text_to_audio.TASK,
        forced_alignment.TASK,
        document_question_answering.TASK,
        visual_question_answering.TASK,
        image_to_text.TASK,
        image_text_to_text.TASK,
        any_to_any.TASK,
        decision.TASK,
        question_answering.TASK,
        token_classification.TASK,
        text_classification.TASK,
        zero_shot.TASK,
        fill_mask.TASK,
        text_generation.TASK,
        text2text.TEXT2TEXT,
        text2text.SUMMARIZATION,
        text2text.TRANSLATION,
        feature_extraction.TASK,
        table_question_answering.TASK,
        choices.MULTIPLE_CHOICE,
        choices.NEXT_SENTENCE,
        depth_estimation.TASK,
        guided_detection.GROUNDED,
        guided_detection.IMAGE_GUIDED,
        image_classification.TASK,
        image_feature_extraction.TASK,
        image_segmentation.TASK,
        image_segmentation.INSTANCE,
        image_segmentation.PANOPTIC,
        image_segmentation.SEMANTIC,
        image_segmentation.UNIVERSAL,
        image_to_image.IMAGE_TO_IMAGE,
        image_to_image.MASKED_IMAGE,
        keypoint_detection.TASK,
        keypoint_matching.TASK,
        mask_generation.TASK,
        object_detection.TASK,
        pose_estimation.TASK,
        video_classification.TASK,
        zero_shot_image_classification.TASK,
        zero_shot_object_detection.TASK,
    )
}
_ALIASES = {alias: task.name for task in TASKS.values() for alias in task.aliases}


def task_names() -> list[str]:
    """Every name ``pipeline`` takes, aliases included."""
    return sorted([*TASKS, *_ALIASES, "translation_xx_to_yy"] if "translation" in TASKS else [*TASKS, *_ALIASES])


def find_task(name: str) -> Task:
    """The task of a name or an alias. Raises ValueError, with the nearest name, for any other.

    >>> find_task("ner").name
    'token-classification'
    """
    if not isinstance(name, str):
        raise TypeError(f"task must be a string; got {type(name).__name__}")
    parts = name.split("_")
    if len(parts) == 4 and parts[0] == "translation" and parts[2] == "to":
        name = "translation"
    if name in TASKS:
        return TASKS[name]
    if name in _ALIASES:
        return TASKS[_ALIASES[name]]
    nearest = nearest_name(name, task_names())
    hint = f"; did you mean {nearest!r}?" if nearest else f"; there are {', '.join(task_names())}"
    raise UnknownTaskError(f"unknown task {name!r}{hint}")


# A row of the table is pickled and copied as its name: its functions are the same in every process.
copyreg.pickle(Task, lambda task: (find_task, (task.name,)))
