"""The pipeline of a job, loaded with everything that can be wrong with a checkpoint told in one line."""

import warnings
from typing import Any

from ..running.item_seeds import ItemSeeds
from ..running.loading import NewWeights
from ..running.parts import NoVocabulary
from ..tasks.table import find_task
from .errors import UsageError, one_line

# Errors whose text says what to do. What readers of weights, pickles and JSON raise says less: those get the name of
# the model and of their class.
_SPEAKING = (ValueError, TypeError, RuntimeError, ImportError, OSError)


def load_pipeline(job: Any) -> Any:
    """The pipeline that answers the items of a job. Raises UsageError for whatever cannot be loaded or is no option."""
    import transformers

    from ..pipelines import pipeline

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    options = dict(job.options)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"torch\.")  # what readers of pickles say beside their error
        # Answers of weights drawn at random, or to texts of unknown words, are no answers.
        for kind in (NewWeights, NoVocabulary):
            warnings.simplefilter("ignore" if job.allow_new_weights else "error", kind)
        try:
            return pipeline(job.task, **job.pipeline, **options, **_seeds(job))
        except (NewWeights, NoVocabulary) as error:
            raise UsageError(f"{one_line(error)}; --allow-new-weights runs it all the same") from None
        except Exception as error:
            if type(error) in _SPEAKING:
                raise UsageError(one_line(error)) from error
            name = job.pipeline.get("model") or job.task
            raise UsageError(f"cannot load {name}: {type(error).__name__}: {one_line(error)}") from error


def _seeds(job: Any) -> dict[str, Any]:
    return {"seeds": ItemSeeds(job.seed)} if seeds_by_item(job.task) else {}


def seeds_by_item(name: str) -> bool:
    """Whether a task takes a seed for every item: those over texts that pass options on to generate.

    What others draw is seeded window by window (answering.py).
    """
    task = find_task(name)
    return "seeds" in task.forwarded() and task.needs == ("tokenizer",)
