"""A processor of Ray data sets, built and called as those of ``ray.data.llm``."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..batches import ERROR, RESULT, TaskOnBatches
from .resources import actor_count, cpus_of_actor, need_ray, pool

RowFunction = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class ProcessorConfig:
    """What a processor runs, and on what.

    task: a name that ``pipeline`` knows. model_source: a folder that every node sees, or a name on the hub; None is the
    small checkpoint that ships. batch_size: rows of a batch; large ones batch better, small ones lose less with a node.
    concurrency: actors, a number or (least, most); None is one fewer than the cluster's CPUs. num_gpus, num_cpus: for
    each; None leaves one CPU to the tasks that read (``resources``), which is refused where it cannot be.
    task_kwargs: options of the task and of ``pipeline``. columns: the column of each field, by field. parameters: the
    column with options of a row's own. seed, number: draws of a row come from the seed and its value in that column.
    """

    task: str
    model_source: str | None = None
    batch_size: int | None = 256
    concurrency: int | tuple[int, int] | None = None
    num_gpus: float | None = None
    num_cpus: float | None = None
    task_kwargs: Mapping[str, Any] = field(default_factory=dict)
    columns: Mapping[str, str] = field(default_factory=dict)
    parameters: str | None = "parameters"
    seed: int = 0
    number: str | None = None


class Processor:
    """``ds = processor(ds)``: the data set with ``result`` and ``error`` beside its columns.

    A row that cannot be answered has an error and costs no other. Rows come in order where
    ``DataContext.execution_options.preserve_order`` is set; give them an id where order matters.
    """

    def __init__(
        self, config: ProcessorConfig, preprocess: RowFunction | None, postprocess: RowFunction | None
    ) -> None:
        self.config = config
        self._preprocess, self._postprocess = preprocess, postprocess

    def __call__(self, dataset: Any) -> Any:
        config = self.config
        if self._preprocess is not None:
            dataset = dataset.map(self._preprocess)
        dataset = dataset.map_batches(
            TaskOnBatches,
            fn_constructor_args=(config.task, config.model_source),
            fn_constructor_kwargs={
                "columns": config.columns,
                "parameters": config.parameters,
                "seed": config.seed,
                "number": config.number,
                **config.task_kwargs,
            },
            batch_size=config.batch_size,
            batch_format="pyarrow",
            **actor_arguments(config.concurrency, config.num_gpus, config.num_cpus),
        )
        return dataset if self._postprocess is None else dataset.map(self._postprocess)

    def __repr__(self) -> str:
        return f"Processor({self.config.task!r}, adds {RESULT!r} and {ERROR!r})"


def build_processor(
    config: ProcessorConfig, preprocess: RowFunction | None = None, postprocess: RowFunction | None = None
) -> Processor:
    """A processor of a configuration.

    preprocess: makes of a row the row that the task sees, all columns included; postprocess: makes of an answered row
    the one that is kept.
    """
    need_ray()
    return Processor(config, preprocess, postprocess)


def processor(
    task: str, *, preprocess: RowFunction | None = None, postprocess: RowFunction | None = None, **config: Any
) -> Processor:
    """``build_processor`` of ``ProcessorConfig(task, **config)`` in one call.

    >>> ds = processor("ner", concurrency=2, columns={"text": "review"})(ds)  # doctest: +SKIP
    """
    return build_processor(ProcessorConfig(task, **config), preprocess, postprocess)


def actor_arguments(
    workers: int | tuple[int, int] | None, num_gpus: float | None, num_cpus: float | None, reserve: float = 1
) -> dict[str, Any]:
    """Arguments of ``map_batches`` for a pool of actors on the cluster that is there, or on this machine.

    ``reserve``: CPUs that stay free for everything else in the data set's plan.
    """
    ray = need_ray()
    if not ray.is_initialized():
        ray.init()
    cpus = float(ray.cluster_resources().get("CPU", 1))
    actors = actor_count(workers, cpus, reserve)
    found = {"compute": pool(actors), "num_cpus": cpus_of_actor(actors, cpus, num_cpus, reserve)}
    return found if num_gpus is None else {**found, "num_gpus": num_gpus}
