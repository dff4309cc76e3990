"""``pipeline(task, ...)``: the arguments of transformers' own in its order, and a few more, to a loaded task."""

from collections.abc import Mapping
from inspect import signature
from typing import Any

from .running.arguments import check_arguments
from .running.loading import load
from .running.pipeline_object import CALLS, RUN_OPTIONS, Pipeline
from .tasks.inference import infer_task
from .tasks.table import find_task

__all__ = ["CALLS", "RUN_OPTIONS", "Pipeline", "pipeline"]


def pipeline(
    task: str | None = None,
    model: Any = None,
    config: Any = None,
    tokenizer: Any = None,
    feature_extractor: Any = None,
    image_processor: Any = None,
    video_processor: Any = None,
    processor: Any = None,
    revision: str | None = None,
    use_fast: bool | None = None,
    token: str | bool | None = None,
    device: Any = None,
    device_map: Any = None,
    dtype: Any = None,
    trust_remote_code: bool | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
    pipeline_class: Any = None,
    *,
    torch_dtype: Any = None,
    framework: str | None = None,
    modelcard: Any = None,
    args_parser: Any = None,
    binary_output: bool = False,
    use_auth_token: str | bool | None = None,
    local_files_only: bool | None = None,
    code_revision: str | None = None,
    compat: bool = True,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    num_workers: int | None = None,
    progress: bool = False,
    on_error: str = "raise",
    output: str = "records",
    **options: Any,
) -> Pipeline:
    """A task ready to call: same arguments and same results as the pipeline of that name in transformers.

    task: a name of ``afterlogits.adapters.tasks.table.TASKS``, e.g. "ner" or "question-answering"; None reads it from
    the architecture of ``model``, where that can do one task alone.
    model: a path, a name on the hub, or a model object together with its tokenizer or processors; None takes the small
    checkpoint that ships with the package.
    tokenizer, feature_extractor, image_processor, video_processor, processor: objects of any class that is called as
    transformers' own, or paths or names; what the task needs and is not given is taken from ``processor`` or loaded
    with the model.
    compat: True returns what transformers returns, its known defects included; False the corrected result
    (docs/semantics.md leads to every difference).
    batch_tokens: the budget of a batch in the task's unit (rows times longest row; tokens of text, pixels of pictures,
    samples of sound); rows of like length go together. ``batch_size`` caps the rows of a batch as well.
    progress: a tqdm bar over the items. on_error: "raise" stops at a bad item, naming it; "record" puts
    ``{"error": ..., "index": ...}`` in its place. output: "records", "columns" (a dict of tensors and lists, built from
    the kernels' own without a record on the way, with an ``offsets`` tensor: item i owns its rows ``offsets[i]`` to
    ``offsets[i + 1]``) or "arrow" (a pyarrow table, its column ``item`` says whose a row is). With "record" an item
    that failed owns one row, with its text in the column ``error`` and NaN, -1 or None (null) in the others.
    options: the task's own, as transformers documents them; they may also be given at each call.

    >>> ner = pipeline("ner", aggregation_strategy="simple")  # doctest: +SKIP
    >>> ner("Ada Lovelace lived in London.")  # doctest: +SKIP
    [{'entity_group': 'PER', ...}, {'entity_group': 'LOC', ...}]
    """
    given = dict(locals())
    parts = {
        "tokenizer": tokenizer,
        "feature_extractor": feature_extractor,
        "image_processor": image_processor,
        "video_processor": video_processor,
        "processor": processor,
    }
    check_arguments(given, parts)
    hub = {
        "revision": revision,
        "token": use_auth_token if token is None else token,
        "trust_remote_code": trust_remote_code,
        "use_fast": use_fast,
        "local_files_only": local_files_only,
        "code_revision": code_revision,
    }
    hub = {name: value for name, value in hub.items() if value is not None}
    asked = infer_task(model, config, hub) if task is None else task
    found = find_task(asked)
    loaded = load(
        found,
        model,
        parts,
        config=config,
        compat=compat,
        device=device,
        device_map=device_map,
        dtype=dtype if torch_dtype is None else torch_dtype,
        batch_size=batch_size,
        batch_tokens=batch_tokens,
        model_kwargs=model_kwargs,
        hub=hub,
        asked=asked,
    )
    run = {"progress": progress, "on_error": on_error, "output": output}
    return Pipeline(found, loaded, run=run, options=options, construction=signature(pipeline).parameters)
