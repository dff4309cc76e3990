"""A window of prompts through one running batch: rows that end leave, the next prompts take their places."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ...generation.request import GRAMMAR_OPTIONS, grammar_of_row
from ...running.batching import Row, plan_batches
from ...running.failures import Failure
from ...running.loaded import Loaded
from .generating import stated_value, with_grammars

__all__ = ["rows_may_join", "run_joined"]

# Options under which a prompt is more than one row, or rows are looked at together, or something is kept of each step.
_TOGETHER = (
    *("return_dict_in_generate", "streamer", "assistant_model", "prompt_lookup_num_tokens", "penalty_alpha"),
    *("dola_layers", "constraints", "force_words_ids", "custom_generate", "logits_processor", "stopping_criteria"),
    *("prefix_allowed_tokens_fn", "negative_prompt_ids", "guidance_scale", "max_time", "watermarking_config"),
    *("cache_implementation", "cache_config", "prefill_chunk_size", "token_healing", "use_mtp", "assistant_early_exit"),
)
_ONE = ("num_beams", "num_beam_groups", "num_return_sequences")
_MOST_ROWS = 512


def rows_may_join(loaded: Loaded, arguments: Mapping[str, Any], asked: bool | None) -> bool:
    """Whether prompts share a running batch. By itself (``asked`` is None) only where the answer depends on no order:
    greedy, or with a seed for each item, where rows may end at different steps and no batch size was asked for.

    Raises ValueError where it is asked for and cannot be.
    """
    if asked is False or (asked is None and loaded.batch_size is not None):
        return False
    reason = _why_not_these(loaded, arguments) or _why_not(loaded)
    if asked and reason is not None:
        raise ValueError(f"running_batch must be off: {reason}")
    samples = bool(stated_value(loaded, arguments, "do_sample"))
    by_itself = loaded.batch_size is None and (not samples or arguments.get("seeds") is not None)
    return reason is None and (asked is True or (by_itself and _ends_differ(loaded, arguments)))


def _why_not_these(loaded: Loaded, arguments: Mapping[str, Any]) -> str | None:
    """Which of the options does not go with rows that join."""
    reason = next((f"{name} is given" for name in _TOGETHER if stated_value(loaded, arguments, name)), None)
    reason = reason or next((f"{name} is {n}" for name in _ONE if (n := _count(loaded, arguments, name)) > 1), None)
    return reason or ("use_cache is False" if stated_value(loaded, arguments, "use_cache") is False else None)


def _ends_differ(loaded: Loaded, arguments: Mapping[str, Any]) -> bool:
    """Whether rows may end at different steps; otherwise plain batches are full at every step."""
    ends = any(stated_value(loaded, arguments, name) is not None for name in ("eos_token_id", "stop_strings"))
    return ends or stated_value(loaded, arguments, "max_new_tokens") is None


def run_joined(loaded: Loaded, rows: Sequence[tuple[int, Row]], arguments: Mapping[str, Any]) -> list[Any]:
    """What ``run_generate`` returns for every row, or its Failure. ``rows``: each with the number of its item."""
    from ...generation.generate_stream import as_prompt, running_model, stream_rows
    from ...generation.row_plans import RowPlans

    options = dict(arguments)
    seeds = options.pop("seeds", None)
    plans: RowPlans = loaded.findings.setdefault("row_plans", RowPlans(loaded.model))
    # As many rows at once as batches one after the other would have on average; long prompts first, as there.
    batches = plan_batches([row.length for _, row in rows], batch_tokens=loaded.batch_tokens)
    most = loaded.batch_size or min(-(-len(rows) // len(batches)), _MOST_ROWS)
    outputs: list[Any] = [None] * len(rows)

    def requests() -> Any:
        order = range(len(rows)) if loaded.batch_size else [number for batch in batches for number in batch]
        for number in order:
            item, row = rows[number]
            seed = None if seeds is None else seeds + item if isinstance(seeds, int) else seeds[item]
            try:
                ids = as_prompt(row.inputs["input_ids"], row.inputs.get("attention_mask"), loaded.device)
                own = with_grammars(loaded, options, [item])
                own |= {name: grammar_of_row(name, own[name], 0) for name in GRAMMAR_OPTIONS if name in own}
                yield plans.row(ids, own, seed=seed, tag=number)
            except (TypeError, ValueError) as error:
                outputs[number] = Failure(error)

    with torch.no_grad():
        batch = _batch(running_model(loaded.model, max_rows=most, options=options), most, loaded.batch_tokens)
        try:
            for ended in stream_rows(batch, requests()):
                number = ended.request.tag
                outputs[number] = Failure(ended.error) if ended.error is not None else _output(ended)
        except Exception as error:  # a forward that failed: every row that has no answer runs again alone
            outputs = [Failure(error) if output is None else output for output in outputs]
    return outputs


def _batch(model: Any, most: int, prefill_tokens: int) -> Any:
    from ....decoding.search.running_batch import RunningBatch

    return RunningBatch(model, max_rows=most, prefill_tokens=prefill_tokens)


def _output(ended: Any) -> dict[str, Any]:
    return {"sequences": [ended.token_ids.tolist()], "prompt": ended.prompt_length, "others": {}}


def _count(loaded: Loaded, arguments: Mapping[str, Any], name: str) -> int:
    return int(stated_value(loaded, arguments, name) or 1)


def _why_not(loaded: Loaded) -> str | None:
    """Why prompts cannot join a batch of this model, found out once."""
    if "rows_cannot_join" not in loaded.findings:
        loaded.findings["rows_cannot_join"] = _reason(loaded)
    found: str | None = loaded.findings["rows_cannot_join"]
    return found


def _reason(loaded: Loaded) -> str | None:
    """Why a model's prompts cannot join a running batch; None where they can."""
    from transformers import GenerationMixin

    from ...generation.generation_mixin import Engine
    from ...generation.joinable import why_rows_cannot_join

    model = loaded.model
    if not isinstance(model, GenerationMixin):
        return f"{type(model).__name__} is no transformers model"
    kinds = (kind for kind in type(model).__mro__ if "generate" in vars(kind) and not issubclass(kind, Engine))
    if next(kinds) is not GenerationMixin:
        return f"{type(model).__name__} has its own generate"
    if loaded.row_by_row:
        return "its rows hang on their neighbours"
    return why_rows_cannot_join(model)
