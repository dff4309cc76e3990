"""How a call picks tokens: the list of processors as stages of the loop, and the warpers at its end as one sampler."""

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from transformers.generation import logits_process as library

from ...decoding.grammar.grammar_step import GrammarStep
from ...decoding.grammar.greedy_grammar import GreedyGrammar
from ...decoding.kernels.argmax import first_argmax
from ...decoding.kernels.late_flags import LateFlag
from ...decoding.kernels.torch_stream import skip_rows, stream_is_known
from ...decoding.sampling.params import SamplingParams
from ...decoding.sampling.sample import Sampler
from ...decoding.sampling.step_graph import StepGraph
from ...decoding.search.decode_loop import Select
from ...decoding.search.history import History
from ...decoding.search.jump_ahead import Certain
from .grammar import GrammarProcessor
from .processors import Deferred, translate
from .request import OWN_OPTIONS, Request, has_rows, per_row

__all__ = [
    "BeamFilters",
    "SamplerSelect",
    "build_sampler",
    "build_selection",
    "known_ahead",
    "may_know_ahead",
    "require_draws",
]

# Transformers' warpers in the order it applies them, each with the sampling parameter it stands for and where its value
# is kept. A list that ends in some of them, in this order, is one Sampler.
WARPERS: list[tuple[Any, str, str]] = [
    (library.TemperatureLogitsWarper, "temperature", "temperature"),
    (getattr(library, "TopHLogitsWarper", None), "top_h", "top_h"),
    (library.TopKLogitsWarper, "top_k", "top_k"),
    (library.TopPLogitsWarper, "top_p", "top_p"),
    (library.MinPLogitsWarper, "min_p", "min_p"),
    (library.TypicalLogitsWarper, "typical_p", "mass"),
    (library.EpsilonLogitsWarper, "epsilon_cutoff", "epsilon"),
    (library.EtaLogitsWarper, "eta_cutoff", "epsilon"),
]


class GreedySelect:
    """The most probable token of each row. A NaN wins, as in transformers, but not in silence.

    On another device than the CPU the warning comes one step late.
    """

    def __init__(self) -> None:
        self._warned = False
        self._flag = LateFlag()
        self._place: tuple[int, Tensor | None] = (0, None)

    def __call__(self, logits: Tensor, *, step: int, rows: Tensor | None = None) -> Tensor:
        if logits.device.type != "cpu":
            return self._on_device(logits, step, rows)
        token_ids = self._pick(logits)
        if not self._warned:
            self._warn_of(logits.gather(1, token_ids[:, None])[:, 0], step, rows)
        return token_ids

    def _pick(self, logits: Tensor) -> Tensor:
        return first_argmax(logits)

    def _on_device(self, logits: Tensor, step: int, rows: Tensor | None) -> Tensor:
        self.finish()
        largest, token_ids = logits.max(1)  # the first of equals, as argmax
        if not self._warned:
            self._flag.send(largest)
            self._place = (step, rows)
        return token_ids

    def finish(self) -> None:
        """Warn of what the last step on a device left."""
        largest = self._flag.receive()
        if largest is not None:
            self._warn_of(largest, *self._place)

    def _warn_of(self, largest: Tensor, step: int, rows: Tensor | None) -> None:
        """Warn once of a NaN among the rows' largest logits, [N]."""
        is_nan = largest.isnan()
        if bool(is_nan.any()):
            self._warned = True
            at = int(is_nan.nonzero()[0])
            row = at if rows is None else int(rows[at])
            warnings.warn(f"logits hold NaN in row {row} at step {step}: its token means nothing", stacklevel=2)


class GrammarStage:
    """The stage of a grammar, whose first masks are made while the model reads the prompt.

    together: of one row of a running batch, whose rows begin their work together.
    """

    def __init__(
        self, grammar: GrammarProcessor, history: History, *, greedy: bool = False, together: bool = False
    ) -> None:
        self.grammar, self.device = grammar, history.ids.device
        self.rule: GrammarStep | GreedyGrammar = (GreedyGrammar if greedy else GrammarStep)(
            grammar.matchers(history.batch_size), grammar.engine.vocab_size
        )
        self.rule.together = together
        self.rule.begin()

    def apply(self, logits: Tensor) -> Tensor:
        return self.rule.apply(logits) if isinstance(self.rule, GrammarStep) else logits

    def advance(self, token_ids: Tensor) -> None:
        self.rule.advance(token_ids)

    def select_rows(self, rows: Tensor) -> None:
        self.rule.select_rows(rows)

    def certain(self) -> Sequence[int | None] | None:
        return self.rule.certain()

    def passed(self) -> None:
        """Tokens that were certain are heard of in ``advance``."""


class StreamedAhead:
    """What a grammar is certain of, beside draws from torch's stream: each step that is passed over takes its draw."""

    def __init__(self, stage: GrammarStage, select: "SamplerSelect") -> None:
        self.certain, self.passed = stage.certain, select.skip


class GrammarSelect(GreedySelect, GrammarStage):
    """The most probable token that each row's grammar allows: the stage and the choice in one.

    On another device than the CPU the stage masks the logits, and the choice is as without a grammar.
    """

    def __init__(self, grammar: GrammarProcessor, history: History) -> None:
        GreedySelect.__init__(self)
        GrammarStage.__init__(self, grammar, history, greedy=history.ids.device.type == "cpu")

    def _pick(self, logits: Tensor) -> Tensor:
        assert isinstance(self.rule, GreedyGrammar)
        return self.rule.choose(logits)


class SamplerSelect:
    """A Sampler that is built when the first logits show the size of the vocabulary."""

    def __init__(self, params: SamplingParams, batch_size: int, seeds: Any = None):
        self.params, self.batch_size, self.seeds = params, batch_size, seeds
        self.in_graph = False  # whether draws of the whole batch are captured in a CUDA graph
        self.settles_late = False  # whether the loop asks ``settle`` about each draw before the next
        self._sampler: Sampler | None = None
        self._graph: StepGraph | None = None

    def sampler(self, logits: Tensor) -> Sampler:
        """The compiled sampler for logits of this width."""
        if self._sampler is None:
            self._sampler = Sampler(
                self.params,
                batch_size=self.batch_size,
                vocab_size=logits.shape[-1],
                device=logits.device,
                seeds=self.seeds,
            )
        return self._sampler

    def __call__(self, logits: Tensor, *, step: int | Tensor, rows: Tensor | None = None) -> Tensor:
        sampler = self.sampler(logits)
        if type(step) is int:
            sampler.finish()  # which names an earlier step itself
        try:
            if self.in_graph and rows is None and isinstance(step, int):
                self._graph = self._graph or StepGraph(sampler)
                return self._graph.select(logits, step=step)
            sampler.settles_late = self.settles_late
            return sampler.select(logits, step=step, rows=rows)
        except ValueError as error:
            place = step if isinstance(step, int) else f"of each row among {step.tolist()}"
            raise ValueError(f"{error} at step {place}") from error

    @property
    def may_doubt(self) -> bool:
        """Whether a draw may be one that ``settle`` changes: from torch's stream, by a device's kernels."""
        sampler = self._sampler
        return self.seeds is None and (sampler is None or sampler.plan.kernel_options is not None)

    def select_places(self, logits: Tensor, *, step: Tensor, rows: Tensor) -> Tensor | None:
        """``Sampler.select_places``; None where a draw depends on those before it."""
        sampler = self.sampler(logits)
        if sampler.seeds is None or sampler.draw_steps:
            return None
        try:
            return sampler.select_places(logits, step=step, rows=rows)
        except ValueError as error:
            raise ValueError(f"{error} at steps from {step.tolist()} on") from error

    def settle(self) -> Tensor | None:
        """The tokens that the last draw should have given; see ``Sampler.settle``."""
        return None if self._sampler is None else self._sampler.settle()

    @property
    def may_skip(self) -> bool:
        """Whether a draw takes from torch's stream what ``skip`` takes, whatever is drawn."""
        temperature, xtc = self.params.temperature, self.params.xtc_probability
        draws = isinstance(temperature, int | float) and temperature > 0 and xtc is None
        return draws and self.seeds is None and stream_is_known()

    def skip(self) -> None:
        """Move torch's stream on as a draw of every row does."""
        assert self._sampler is not None
        skip_rows(self.batch_size, self._sampler.vocab_size)

    def finish(self) -> None:
        """Raise for a row of the last step on a device that could not be drawn."""
        if self._sampler is not None:
            self._sampler.finish()


class FilteredScores:
    """The stage that applies a sampler's filters, where the filtered scores are to be returned."""

    def __init__(self, select: SamplerSelect):
        self.select = select

    def apply(self, logits: Tensor) -> Tensor:
        return self.select.sampler(logits).process(logits)

    def advance(self, token_ids: Tensor) -> None:
        """Filters know no history."""

    def select_rows(self, rows: Tensor) -> None:
        raise ValueError("scores must be recorded for every row; got a selection of rows")


class BeamFilters(FilteredScores):
    """The same for beams, which change places within a prompt alone: all beams of a prompt share its options."""

    def select_rows(self, rows: Tensor) -> None:
        """The filters stay where they are."""


def build_selection(
    config: Any,
    logits_processor: Sequence[Any],
    history: History,
    request: Request,
    *,
    batch_size: int,
    scores_wanted: bool,
) -> tuple[list[Any], Select]:
    """The stages the logits pass, and the function that picks from what comes out."""
    require_draws(config, request)
    if not config.do_sample:
        return _greedy(logits_processor, history, scores_wanted)
    processors, select = build_sampler(logits_processor, request, batch_size, config.num_return_sequences or 1)
    stages = translate(processors, history)
    if processors and type(processors[-1]) is GrammarProcessor:
        stages[-1] = GrammarStage(processors[-1], history)
    if not scores_wanted:
        return stages, select
    return [*stages, FilteredScores(select)], SamplerSelect(SamplingParams(), batch_size, select.seeds)


def may_know_ahead(stages: Sequence[Any]) -> bool:
    """Whether the last of ``stages`` is a grammar's, which may be certain of tokens."""
    return bool(stages) and isinstance(stages[-1], GrammarStage)


def known_ahead(stages: Sequence[Any], select: Select) -> Certain | None:
    """The last of ``stages``, where what it is certain of needs no choice; None where a choice could be another.

    That is so where no other stage forbids tokens, and where what is drawn depends on the seed and the place alone, or
    on a stream that each step moves on by as much.
    """
    last = stages[-1] if stages else None
    if not isinstance(last, GrammarStage) or not last.grammar.jumps or not all(map(_only_weighs, stages[:-1])):
        return None
    if not isinstance(select, SamplerSelect):
        last.rule.jumps = True
        return last
    params = select.params
    if params.mirostat_tau is not None or params.adaptive_target is not None:
        return None
    if select.seeds is None and (last.device.type != "cpu" or not select.may_skip):
        return None
    last.rule.jumps = True
    return StreamedAhead(last, select) if select.seeds is None else last


def _only_weighs(stage: Any) -> bool:
    return isinstance(stage, Deferred) and type(stage.processor) is library.RepetitionPenaltyLogitsProcessor


def _greedy(processors: Sequence[Any], history: History, scores_wanted: bool) -> tuple[list[Any], Select]:
    """The stages and the greedy choice; a grammar at their end is part of the choice where nobody sees the scores."""
    if scores_wanted or not processors or type(processors[-1]) is not GrammarProcessor:
        return translate(processors, history), GreedySelect()
    select = GrammarSelect(processors[-1], history)
    return [*translate(processors[:-1], history), select], select


def require_draws(config: Any, request: Request) -> None:
    """Refuse options of a draw where nothing is drawn."""
    if not config.do_sample and (request.rows or request.seeds is not None):
        name = next(iter(request.rows), "seeds")
        name = name if name in OWN_OPTIONS else f"per-row {name}"
        raise ValueError(f"do_sample must be True for {name}; got False")


def build_sampler(
    logits_processor: Sequence[Any], request: Request, batch_size: int, copies: int = 1
) -> tuple[list[Any], SamplerSelect]:
    """The processors before the warpers, and the draw behind the warpers and the request's own filters.

    batch_size: rows, of which ``copies`` neighbours stem from one prompt.
    """
    processors, warpers = split_warpers(list(logits_processor))
    rows = {
        name: per_row(name, value, batch_size, copies) if has_rows(name, value) else value
        for name, value in request.rows.items()
    }
    seeds = request.seeds
    if seeds is not None:
        seeds = per_row("seeds", seeds, batch_size, copies)
        if copies > 1 and len(request.seeds) != batch_size:
            # The copies of a prompt must not be copies of one draw.
            seeds = [seed + index % copies for index, seed in enumerate(seeds)]
    params = SamplingParams(**{**warpers, **rows}) if rows else _params_of(**warpers)
    return processors, SamplerSelect(params, batch_size, seeds)


@lru_cache(maxsize=64, typed=True)
def _params_of(**numbers: Any) -> SamplingParams:
    """The parameters of a draw whose options are one number each, the same object for the same numbers."""
    return SamplingParams(**numbers)


def split_warpers(processors: list[Any]) -> tuple[list[Any], dict[str, Any]]:
    """Cut off the longest end of the list that is a Sampler's own filters in its own order; return them as options."""
    options: dict[str, Any] = {}
    keep: int | None = None  # one number for all of them, as transformers sets it; more than 1 for beams
    position = len(WARPERS)
    end = len(processors)
    while end > 0:
        warper = processors[end - 1]
        index = next((i for i, (kind, _, _) in enumerate(WARPERS) if type(warper) is kind), None)
        if index is None or index >= position:
            break
        if keep is not None and getattr(warper, "min_tokens_to_keep", keep) != keep:
            break
        if getattr(warper, "filter_value", -float("inf")) != -float("inf"):
            break
        _, name, attribute = WARPERS[index]
        value = _plain(getattr(warper, attribute))
        if not math.isfinite(value):
            break
        options[name] = value
        keep = getattr(warper, "min_tokens_to_keep", keep)
        position, end = index, end - 1
    if keep is not None:
        options["min_tokens_to_keep"] = keep
    return processors[:end], options


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value
