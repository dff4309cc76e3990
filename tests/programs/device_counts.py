"""How often a step on a device waits, and how many operations it launches: here and in transformers, mode by mode.

``python -m tests.programs.device_counts`` prints the table; ``--write docs/gpu-counts.md`` puts it on the page. There
is no GPU in it: the pretend device of ``tests/pretend_cuda`` counts. A number is the difference between a run and one
of half as many tokens (24 with seeds, 12 without), divided by the difference: what a call does once does not show.
The model's own forward is taken off.
"""

import argparse
import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from afterlogits.adapters import generate
from afterlogits.decoding import SamplingParams
from afterlogits.decoding.kernels import device_race
from afterlogits.decoding.sampling.sampler import Sampler
from tests.pretend_cuda.counts import Counts
from tests.pretend_cuda.device import on_device, per_step, pretend_cuda
from tests.programs.speculation_counts import round_table, token_table

VOCAB_SIZE, EOS, ROWS = 8192, 2, 4
SEEDS = {"seeds": [11, 12, 13, 14]}
FILTERS = {"top_k": 50, "top_p": 0.95}
DRAWN = {"do_sample": True, "top_k": 0, "top_p": 1.0}


@dataclass(frozen=True)
class Case:
    """A call of ``generate``; ``peer``: what transformers is asked for beside it, None where it has no such call."""

    name: str
    options: dict[str, Any] = field(default_factory=dict)
    peer: dict[str, Any] | None = None
    flat: bool = False


def _same(name: str, options: dict[str, Any], **rest: Any) -> Case:
    return Case(name, options, options, **rest)


def _seeded(name: str, options: dict[str, Any], **rest: Any) -> Case:
    return Case(name, {**options, **SEEDS}, options, **rest)


CASES = [
    _same("greedy", {}),
    _same("greedy + repetition penalty", {"repetition_penalty": 1.2}),
    _same("greedy + no-repeat n-gram 3", {"no_repeat_ngram_size": 3}),
    _same("sampling, stream, none", DRAWN),
    _same("sampling, stream, top-p 0.9", {**DRAWN, "top_p": 0.9}),
    _same("sampling, stream, top-k 50 + top-p 0.95", {**DRAWN, **FILTERS}),
    _seeded("sampling, seeds, none (flat logits)", DRAWN, flat=True),
    _seeded("sampling, seeds, temperature 0.7 (flat logits)", {**DRAWN, "temperature": 0.7}, flat=True),
    _seeded("sampling, seeds, top-p 0.9 (flat logits)", {**DRAWN, "top_p": 0.9}, flat=True),
    _seeded("sampling, seeds, top-p 0.9", {**DRAWN, "top_p": 0.9}),
    _seeded("sampling, seeds, temperature 0.7 + top-p 0.9", {**DRAWN, "temperature": 0.7, "top_p": 0.9}),
    _seeded("sampling, seeds, temperature 0.7 + min-p 0.1", {**DRAWN, "temperature": 0.7, "min_p": 0.1}),
    _seeded("sampling, seeds, top-k 50", {**DRAWN, "top_k": 50}),
    _seeded("sampling, seeds, top-k 50 + top-p 0.95", {**DRAWN, **FILTERS}),
    _seeded("sampling, seeds, min-p 0.1", {**DRAWN, "min_p": 0.1}),
    _seeded("sampling, seeds, typical-p 0.9", {**DRAWN, "typical_p": 0.9}),
    Case(
        "sampling, seeds, per-row temperature and top-p",
        {**DRAWN, **SEEDS, "temperature": [0.7, 0.8, 0.9, 1.1], "top_p": [0.9, 0.95, 0.8, 0.7]},
    ),
    Case("frequency + presence penalty", {"frequency_penalty": 0.4, "presence_penalty": 0.3}),
    Case("DRY", {"dry_multiplier": 0.8}),
    _same("beam 4", {"num_beams": 4}),
    _same("beam sampling 4, stream, top-k 50", {**DRAWN, "num_beams": 4, "top_k": 50}),
    _seeded("beam sampling 4, seeds, top-k 50", {**DRAWN, "num_beams": 4, "top_k": 50}),
    Case("group beams 4 / 2", {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5}),
    Case("constrained beams 4", {"num_beams": 4, "force_words_ids": [[11, 12], [13]]}),
    Case("contrastive", {"penalty_alpha": 0.6, "top_k": 4}),
    Case("DoLa", {"dola_layers": "low"}),
    Case("DoLa, sampling", {**DRAWN, "dola_layers": "low"}),
    Case("compact", {"compact": True}),
]
WIDE = [case for case in CASES if "seeds" in case.options]
SAMPLER_CASES: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "temperature 0.8": {"temperature": 0.8},
    "top-k 50": {"top_k": 50},
    "top-k 50 + top-p 0.95": {"top_k": 50, "top_p": 0.95},
    "top-p 0.9": {"top_p": 0.9},
    "min-p 0.05": {"min_p": 0.05},
    "typical-p 0.9": {"typical_p": 0.9},
    "top-n-sigma 1": {"top_n_sigma": 1.0},
    "XTC": {"xtc_probability": 0.5, "xtc_threshold": 0.05},
    "mirostat": {"mirostat_tau": 5.0},
    "unlike options per row": {"temperature": [0.6, 0.8, 1.0, 1.2] * 2, "top_p": [0.9, 1.0, 0.7, 0.95] * 2},
}


def counted_model(*, flat: bool = False) -> Any:
    """A random Llama of two layers, 8,192 tokens and none that ends a row; flat: all tokens are about as likely."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCAB_SIZE,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=128,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=EOS,
        pad_token_id=0,
    )
    model: Any = LlamaForCausalLM(config).eval()
    head = torch.nn.Linear(16, VOCAB_SIZE)
    torch.nn.init.normal_(head.weight, std=0.05 if flat else 1.0)
    torch.nn.init.zeros_(head.bias)
    with torch.no_grad():
        head.bias[EOS] = -1e4
    model.lm_head = head.requires_grad_(False)
    return model


def prompt() -> dict[str, Tensor]:
    """Four prompts of six tokens."""
    ids = torch.randint(3, 200, (ROWS, 6), generator=torch.Generator().manual_seed(5))
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


class Decoding:
    """Counts what a call costs beside the forward passes of its model, which is watched while this is entered.

    And beside the number that transformers 4 reads on the host when it prepares the inputs of one.
    """

    def __init__(self, model: Any, counts: Counts):
        self.model, self.counts, self._inside = model, counts, (0, 0, 0)

    def __enter__(self) -> "Decoding":
        forward = self.model.forward

        @functools.wraps(forward)
        def watched(*args: Any, **kwargs: Any) -> Any:
            before = self.counts.totals()
            found = forward(*args, **kwargs)
            spent = zip(self._inside, self.counts.totals(), before, strict=True)
            self._inside = tuple(sum_ + after - first for sum_, after, first in spent)  # type: ignore[assignment]
            return found

        prepare = self.model.prepare_inputs_for_generation

        @functools.wraps(prepare)
        def prepared(*args: Any, **kwargs: Any) -> Any:
            before = self.counts.totals()[0]
            found = prepare(*args, **kwargs)
            self._inside = (self._inside[0] + self.counts.totals()[0] - before, *self._inside[1:])
            return found

        self.model.forward, self.model.prepare_inputs_for_generation = watched, prepared
        return self

    def __exit__(self, *error: object) -> None:
        del self.model.forward, self.model.prepare_inputs_for_generation

    def of_step(self, run: Callable[[int], Any], short: int, long: int) -> tuple[float, ...]:
        """Waits, late waits and operations of a step."""
        found = []
        for steps in (short, long):
            self.counts.reset()
            self._inside = (0, 0, 0)
            run(steps)
            found.append([a - b for a, b in zip(self.counts.totals(), self._inside, strict=True)])
        return tuple((after - before) / (long - short) for before, after in zip(*found, strict=True))


def counted_call(model: Any, run: Callable[..., Any], call: dict[str, Any], counts: Counts) -> tuple[float, ...]:
    """Waits, late waits and operations of a step of ``run(**call)``, the model's own taken off.

    Seeded noise is formed for many steps at once, so that more of them are counted.
    """
    short = 12 if "seeds" in call else 6

    def steps(count: int) -> None:
        torch.manual_seed(3)
        run(**call, max_new_tokens=count)

    with Decoding(model, counts) as decoding:
        return decoding.of_step(steps, short, 2 * short)


def generation_table(cases: list[Case], *, peers: bool = True, alone: bool = False) -> dict[str, tuple[Any, Any]]:
    """Of each case what a step costs here and in transformers (None where it has none), beside the model.

    alone: the noise of every step is formed by itself, as that of many rows of a wide vocabulary is.
    """
    models = {flat: counted_model(flat=flat) for flat in (False, True)}
    table, at_once = {}, 0 if alone else device_race.AT_ONCE
    with pretend_cuda() as counts, warnings.catch_warnings(), mock.patch.object(device_race, "AT_ONCE", at_once):
        warnings.simplefilter("ignore")
        there, inputs = {flat: on_device(model) for flat, model in models.items()}, on_device(prompt())
        for case in cases:
            model = there[case.flat]
            ours = counted_call(model, functools.partial(generate, model), {**inputs, **case.options}, counts)
            theirs = None
            if peers and case.peer is not None:
                theirs = counted_call(model, model.generate, {**inputs, **case.peer}, counts)
            table[case.name] = (ours, theirs)
    return table


def sampler_table(rows: int = 8, vocab_size: int = 50_257) -> dict[str, dict[str, Any]]:
    """Of each configuration what a draw costs with torch's stream and with seeds: no model in it."""
    logits = torch.randn(rows, vocab_size, generator=torch.Generator().manual_seed(1)) * 3
    table: dict[str, dict[str, Any]] = {}
    with pretend_cuda() as counts:
        there = on_device(logits)
        for name, options in SAMPLER_CASES.items():
            table[name] = {}
            for kind, seeds in (("stream", None), ("seeds", list(range(rows)))):
                sampler = Sampler(
                    SamplingParams(**options), batch_size=rows, vocab_size=vocab_size, device="cuda:0", seeds=seeds
                )

                def run(steps: int, sampler: Sampler = sampler) -> None:
                    for step in range(steps):
                        sampler.select(there, step=step)
                    sampler.finish()

                table[name][kind] = per_step(run, counts, 18, 36)
    return table


def markdown() -> str:
    """The tables."""
    lines = [
        "| a step, 4 rows, V 8,192 | waits | late | operations | transformers: waits | operations |",
        "|" + "---|" * 6,
    ]
    for name, (ours, theirs) in generation_table(CASES).items():
        peer = ("-", "-") if theirs is None else (_number(theirs[0]), _number(theirs[2]))
        lines.append(f"| {name} | {' | '.join(map(_number, ours))} | {' | '.join(peer)} |")
    lines += [
        "",
        "| a seeded step, any number of rows, any vocabulary: at most | operations | transformers: operations |",
    ]
    lines.append("|" + "---|" * 3)
    for name, (ours, theirs) in generation_table(WIDE, alone=True).items():
        lines.append(f"| {name} | {_number(ours[2])} | {'-' if theirs is None else _number(theirs[2])} |")
    lines += ["", "| a draw, 8 rows, V 50,257 | stream: waits, late, operations | seeds: waits, late, operations |"]
    lines.append("|" + "---|" * 3)
    for name, kinds in sampler_table().items():
        lines.append(f"| {name} | " + " | ".join(", ".join(map(_number, found)) for found in kinds.values()) + " |")
    return "\n".join([*lines, "", speculation_markdown()])


def speculation_markdown() -> str:
    """The table of a round of speculation."""
    lines = ["| a round of speculation, 3 rows | waits | late | operations |", "|" + "---|" * 4]
    lines += [f"| {name} | {' | '.join(map(_number, found))} |" for name, found in round_table(3).items()]
    lines += ["", "| speculation, one row: operations of a new token | here | transformers |", "|" + "---|" * 3]
    lines += [f"| {name} | {' | '.join(map(_number, found))} |" for name, found in token_table().items()]
    return "\n".join(lines)


def _number(value: float) -> str:
    return f"{value:.0f}" if abs(value - round(value)) < 0.01 else f"{value:.1f}"


_MARK = "<!-- counts -->"


def command(about: str | None, mark: str, markdown: Callable[[], str]) -> None:
    """Print a table; with ``--write`` it takes the place of what stands between two marks of a page."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--write", type=Path, help=f"a page whose part between two lines of {mark} is replaced")
    asked = parser.parse_args()
    table = markdown()
    print(table)
    if asked.write is not None:
        before, _, after = asked.write.read_text().split(mark)
        asked.write.write_text(f"{before}{mark}\n{table}\n{mark}{after}")


if __name__ == "__main__":
    command(__doc__, _MARK, markdown)
