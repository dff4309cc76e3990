"""Every operation that reads the history or a list of tokens, beside the processor of transformers that it replaces.

An `Operation` draws options and runs them in four ways: as a function of the history, with the same value once per
row, as a step of a loop, and by transformers. `draw_case` makes the logits and the history.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers.generation import logits_process as library

from afterlogits import decoding as d

DTYPES = (torch.float32, torch.float32, torch.float16, torch.bfloat16, torch.float64)
Options = dict[str, Any]


@dataclass(frozen=True)
class Case:
    logits: Tensor  # [B, V]
    token_ids: Tensor  # [B, T]
    rng: random.Random

    @property
    def batch_size(self) -> int:
        return self.logits.shape[0]

    @property
    def vocab_size(self) -> int:
        return self.logits.shape[1]


@dataclass(frozen=True)
class Operation:
    draw: Callable[[Case], Options]
    pure: Callable[[Tensor, Tensor, Options], Tensor]
    library: Callable[[Tensor, Tensor, Options], Tensor] | None = None
    step: Callable[[Tensor, int, Options], Any] | None = None
    per_row: tuple[str, ...] = ()  # options that take one value per row
    source: str | None = None  # an option [B, S] that follows the rows
    outside: bool = False  # whether history may hold ids of V and above


def draw_case(seed: int, *, outside: bool = False, dtype: torch.dtype | None = None) -> Case:
    """A batch of 1-4 rows, 2-40 tokens, a history of 1-24 that repeats itself."""
    rng = random.Random(seed)
    generator = torch.Generator().manual_seed(seed)
    batch_size, vocab_size, length = rng.randint(1, 4), rng.randint(2, 40), rng.randint(1, 24)
    kind = dtype or rng.choice(DTYPES)
    logits = (torch.randn(batch_size, vocab_size, generator=generator) * rng.choice([0.1, 5.0, 40.0])).to(kind)
    if rng.random() < 0.3:
        logits = logits.round()  # ties and zeros
    if rng.random() < 0.3:
        masked = torch.rand(batch_size, vocab_size, generator=generator) < 0.3
        logits = logits.masked_fill(masked, -torch.inf)
    alphabet = rng.randint(1, vocab_size + (3 if outside else 0))
    token_ids = torch.randint(0, alphabet, (batch_size, length), generator=generator)
    return Case(logits, token_ids, rng)


def as_rows(options: Options, names: tuple[str, ...], batch_size: int) -> Options:
    """The same options with one value per row."""
    return {k: [v] * batch_size if k in names else v for k, v in options.items()}


def select(options: Options, operation: Operation, rows: list[int]) -> Options:
    """The per-row options of the rows kept."""
    chosen = {k: [v[i] for i in rows] if k in operation.per_row else v for k, v in options.items()}
    if operation.source:
        chosen[operation.source] = chosen[operation.source][rows]
    return chosen


def draw_rows(operation: Operation, case: Case) -> Options:
    """Options drawn anew for every row."""
    drawn = [operation.draw(case) for _ in range(case.batch_size)]
    return {k: [o[k] for o in drawn] if k in operation.per_row else v for k, v in drawn[0].items()}


def compare_case(name: str, seed: int) -> None:
    """One drawn case, run by this engine, as number and per row, and by transformers: no bit may differ."""
    operation = OPERATIONS[name]
    assert operation.library is not None
    case = draw_case(seed, outside=operation.outside)
    options = operation.draw(case)
    expected = operation.library(case.token_ids, case.logits.clone(), options)
    before = case.logits.clone(), torch.get_rng_state()
    ours = operation.pure(case.logits, case.token_ids, options)
    rows = operation.pure(case.logits, case.token_ids, as_rows(options, operation.per_row, case.batch_size))
    message = f"{name}, seed {seed}, {options}"
    for got in (ours, rows):
        assert got.dtype == expected.dtype, message
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True, msg=message)
    torch.testing.assert_close(case.logits, before[0], rtol=0, atol=0, equal_nan=True, msg=message)
    assert torch.equal(torch.get_rng_state(), before[1]), message


def compare_step(name: str, seed: int) -> None:
    """A step over a random walk of tokens and row changes equals the function at every point, per-row options too."""
    operation = OPERATIONS[name]
    assert operation.step is not None
    case = draw_case(seed, outside=operation.outside, dtype=torch.float32)
    rng, ids = case.rng, case.token_ids[:, : case.rng.randint(1, case.token_ids.shape[1])]
    options = draw_rows(operation, case)
    if name == "prefix_allowed_tokens":
        options["beams"] = 1  # rows of one item stay together otherwise
    step = operation.step(ids, case.vocab_size, options)
    for _ in range(rng.randint(1, 12)):
        logits = torch.randn(
            ids.shape[0], case.vocab_size, generator=torch.Generator().manual_seed(rng.getrandbits(30))
        )
        expected = operation.pure(logits, ids, options)
        got = step.apply(logits.clone())
        message = f"{name}, seed {seed}, {options}, {ids.tolist()}"
        torch.testing.assert_close(got, expected, rtol=0, atol=0, equal_nan=True, msg=message)
        if rng.random() < 0.4:
            rows = [rng.randrange(ids.shape[0]) for _ in range(rng.randint(1, 4))]
            step.select_rows(torch.tensor(rows))
            ids, options = ids[rows], select(options, operation, rows)
        highest = int(case.token_ids.max()) + 1
        token = torch.tensor([rng.randrange(highest) for _ in range(ids.shape[0])])
        step.advance(token)
        ids = torch.cat([ids, token[:, None]], dim=1)


def _penalty(case: Case) -> float:
    return case.rng.choice([0.1, 0.9, 1.0, 1.1, 1.3, 2.0, case.rng.uniform(0.05, 4)])


def _tokens(case: Case, most: int = 4, spare: int = 0) -> list[int]:
    return [case.rng.randrange(case.vocab_size + spare) for _ in range(case.rng.randint(1, most))]


def _source(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(case.rng.getrandbits(30))
    high = int(case.token_ids.max()) + 1
    return torch.randint(0, high, (case.batch_size, case.rng.randint(1, 20)), generator=generator)


def _biases(case: Case) -> dict[tuple[int, ...], float]:
    values = [case.rng.uniform(-9, 9) for _ in range(6)] + [-torch.inf]
    sequences = [tuple(_tokens(case, 3)) for _ in range(case.rng.randint(1, 12))]
    # Endings of the history, so that some sequences are about to be completed.
    row = case.token_ids[case.rng.randrange(case.batch_size)].tolist()
    sequences += [(*row[-k:], case.rng.randrange(case.vocab_size)) for k in (1, 2) if max(row[-k:]) < case.vocab_size]
    return {s: case.rng.choice(values) for s in sequences}


def _bad_words(ids: Tensor, logits: Tensor, o: Options) -> Tensor:
    if all(word == [o["eos_token_id"]] for word in o["bad_words_ids"]):
        return logits  # transformers refuses a list that is empty once EOS is left out
    return library.NoBadWordsLogitsProcessor(o["bad_words_ids"], o["eos_token_id"])(ids, logits)


def _allowed(item: int, ids: Tensor) -> list[int]:
    return [int(ids[-1]) % 2, (int(ids[0]) + len(ids)) % 2]


def _unbatched_guidance(ids: Tensor, logits: Tensor, o: Options) -> Tensor:
    class Output(dict):  # type: ignore[type-arg]
        pass

    output = Output()
    output.logits = o["unconditional"].to(logits.dtype)[:, None]  # type: ignore[attr-defined]
    processor = library.UnbatchedClassifierFreeGuidanceLogitsProcessor(o["scale"], lambda *a, **k: output)
    return processor(ids, logits)


def _other_logits(case: Case) -> Tensor:
    generator = torch.Generator().manual_seed(case.rng.getrandbits(30))
    return torch.randn(case.logits.shape, generator=generator) * 5


def _lists(case: Case) -> Options:
    scheme, width = case.rng.choice(["lefthash", "selfhash"]), case.rng.randint(1, 3)
    options = {"greenlist_ratio": case.rng.choice([0.1, 0.25, 0.5]), "seeding_scheme": scheme, "context_width": width}
    return {"bias": case.rng.uniform(-3, 5), "lists": options}


def _watermark(ids: Tensor, logits: Tensor, o: Options) -> Tensor:
    # Transformers always tries 40 candidates and cannot look past the vocabulary, so small ones are lefthash alone.
    if ids.shape[1] < o["lists"]["context_width"]:
        return logits  # transformers logs a warning and does the same
    return library.WatermarkLogitsProcessor(logits.shape[1], "cpu", bias=o["bias"], **o["lists"])(ids, logits)


def _lefthash(case: Case) -> Options:
    options = _lists(case)
    options["lists"]["seeding_scheme"] = "lefthash"
    return options


OPERATIONS: dict[str, Operation] = {
    "repetition_penalty": Operation(
        lambda c: {"penalty": _penalty(c), "ignore": c.rng.randint(0, c.token_ids.shape[1])},
        lambda x, ids, o: d.apply_repetition_penalty(x, ids, o["penalty"], ignore_length=o["ignore"]),
        lambda ids, x, o: library.RepetitionPenaltyLogitsProcessor(o["penalty"], o["ignore"])(ids, x),
        lambda ids, v, o: d.RepetitionPenaltyStep(ids, o["penalty"], vocab_size=v, ignore_length=o["ignore"]),
        per_row=("penalty", "ignore"),
        outside=True,
    ),
    "encoder_repetition_penalty": Operation(
        lambda c: {"penalty": _penalty(c), "source": _source(c)},
        lambda x, ids, o: d.apply_encoder_repetition_penalty(x, o["source"], o["penalty"]),
        lambda ids, x, o: library.EncoderRepetitionPenaltyLogitsProcessor(o["penalty"], o["source"])(ids, x),
        lambda ids, v, o: d.EncoderRepetitionPenaltyStep(o["source"], o["penalty"], vocab_size=v, batch_size=len(ids)),
        per_row=("penalty",),
        source="source",
    ),
    "count_penalties": Operation(
        lambda c: {"frequency": c.rng.uniform(-2, 2), "presence": c.rng.uniform(-2, 2), "ignore": c.rng.randint(0, 9)},
        lambda x, ids, o: d.apply_presence_penalty(
            d.apply_frequency_penalty(x, ids, o["frequency"], ignore_length=o["ignore"]),
            ids,
            o["presence"],
            ignore_length=o["ignore"],
        ),
        None,
        lambda ids, v, o: d.CountPenaltyStep(
            ids,
            frequency_penalty=o["frequency"],
            presence_penalty=o["presence"],
            vocab_size=v,
            ignore_length=o["ignore"],
        ),
        per_row=("frequency", "presence", "ignore"),
        outside=True,
    ),
    "no_repeat_ngram": Operation(
        lambda c: {"size": c.rng.randint(1, 5)},
        lambda x, ids, o: d.apply_no_repeat_ngram(x, ids, o["size"]),
        lambda ids, x, o: library.NoRepeatNGramLogitsProcessor(o["size"])(ids, x),
        lambda ids, v, o: d.NoRepeatNgramStep(ids, o["size"]),
        per_row=("size",),
        outside=True,
    ),
    "encoder_no_repeat_ngram": Operation(
        lambda c: {"size": c.rng.randint(1, 5), "source": _source(c)},
        lambda x, ids, o: d.apply_encoder_no_repeat_ngram(x, ids, o["size"], encoder_token_ids=o["source"]),
        lambda ids, x, o: library.EncoderNoRepeatNGramLogitsProcessor(o["size"], o["source"])(ids, x),
        lambda ids, v, o: d.EncoderNoRepeatNgramStep(ids, o["size"], encoder_token_ids=o["source"]),
        per_row=("size",),
        source="source",
    ),
    "sequence_bias": Operation(
        lambda c: {"bias": _biases(c)},
        lambda x, ids, o: d.apply_sequence_bias(x, ids, o["bias"]),
        lambda ids, x, o: library.SequenceBiasLogitsProcessor(o["bias"])(ids, x),
        lambda ids, v, o: d.SequenceBiasStep(ids, o["bias"], vocab_size=v),
        per_row=("bias",),
    ),
    "bad_words": Operation(
        lambda c: {"bad_words_ids": [list(s) for s in _biases(c)], "eos_token_id": c.rng.randrange(c.vocab_size)},
        lambda x, ids, o: d.apply_bad_words(x, ids, o["bad_words_ids"], eos_token_id=o["eos_token_id"]),
        _bad_words,
        lambda ids, v, o: d.BadWordsStep(ids, o["bad_words_ids"], vocab_size=v, eos_token_id=o["eos_token_id"]),
        per_row=("bad_words_ids",),
    ),
    "logit_bias": Operation(
        lambda c: {"bias": {t: c.rng.uniform(-5, 5) for t in _tokens(c)}},
        lambda x, ids, o: d.apply_logit_bias(x, o["bias"]),
        lambda ids, x, o: library.SequenceBiasLogitsProcessor({(t,): b for t, b in o["bias"].items()})(ids, x),
        lambda ids, v, o: d.LogitBiasStep(o["bias"], batch_size=len(ids), vocab_size=v),
        per_row=("bias",),
    ),
    "suppress_tokens": Operation(
        lambda c: {"tokens": _tokens(c, spare=3)},
        lambda x, ids, o: d.apply_suppress_tokens(x, o["tokens"]),
        lambda ids, x, o: library.SuppressTokensLogitsProcessor(o["tokens"])(ids, x),
        lambda ids, v, o: d.SuppressTokensStep(o["tokens"], batch_size=len(ids), vocab_size=v),
        per_row=("tokens",),
    ),
    "begin_suppress_tokens": Operation(
        lambda c: {"tokens": _tokens(c, spare=3), "begin": c.token_ids.shape[1] + c.rng.randint(-1, 1)},
        lambda x, ids, o: d.apply_begin_suppress_tokens(x, ids, o["tokens"], begin_index=o["begin"]),
        lambda ids, x, o: library.SuppressTokensAtBeginLogitsProcessor(o["tokens"], o["begin"])(ids, x),
        lambda ids, v, o: d.SuppressTokensStep(
            o["tokens"], batch_size=len(ids), vocab_size=v, begin_index=o["begin"], length=ids.shape[1]
        ),
        per_row=("tokens", "begin"),
    ),
    "min_length": Operation(
        lambda c: {"least": c.token_ids.shape[1] + c.rng.randint(-1, 5), "eos": _tokens(c, spare=2)},
        lambda x, ids, o: d.apply_min_length(x, ids, o["least"], eos_token_id=o["eos"]),
        lambda ids, x, o: library.MinLengthLogitsProcessor(o["least"], o["eos"])(ids, x),
        lambda ids, v, o: d.MinLengthStep(
            o["least"], eos_token_id=o["eos"], batch_size=len(ids), vocab_size=v, length=ids.shape[1]
        ),
        per_row=("least", "eos"),
    ),
    "min_new_tokens": Operation(
        lambda c: {"least": c.rng.randint(0, 9), "prompt": c.rng.randint(0, 9), "eos": _tokens(c)},
        lambda x, ids, o: d.apply_min_new_tokens(x, ids, o["least"], prompt_length=o["prompt"], eos_token_id=o["eos"]),
        lambda ids, x, o: library.MinNewTokensLengthLogitsProcessor(o["prompt"], o["least"], o["eos"])(ids, x),
        lambda ids, v, o: d.MinLengthStep(
            o["least"],
            eos_token_id=o["eos"],
            batch_size=len(ids),
            vocab_size=v,
            length=ids.shape[1],
            prompt_length=o["prompt"],
        ),
        per_row=("least", "eos"),
    ),
    "forced_bos": Operation(
        lambda c: {"bos": _tokens(c, 1)},
        lambda x, ids, o: d.apply_forced_bos(x, ids, o["bos"]),
        lambda ids, x, o: library.ForcedBOSTokenLogitsProcessor(o["bos"][0])(ids, x),
        lambda ids, v, o: d.ForcedTokenStep(
            o["bos"], position=1, batch_size=len(ids), vocab_size=v, length=ids.shape[1]
        ),
        per_row=("bos",),
    ),
    "forced_eos": Operation(
        lambda c: {"eos": _tokens(c), "most": c.token_ids.shape[1] + c.rng.randint(0, 3)},
        lambda x, ids, o: d.apply_forced_eos(x, ids, o["eos"], max_length=o["most"]),
        lambda ids, x, o: library.ForcedEOSTokenLogitsProcessor(o["most"], o["eos"])(ids, x),
        lambda ids, v, o: d.ForcedTokenStep(
            o["eos"], position=[m - 1 for m in o["most"]], batch_size=len(ids), vocab_size=v, length=ids.shape[1]
        ),
        per_row=("eos", "most"),
    ),
    "exponential_decay": Operation(
        lambda c: {
            "factor": c.rng.uniform(0.5, 3),
            "start": c.rng.randint(0, 9),
            "prompt": c.rng.randint(0, 5),
            "eos": list(dict.fromkeys(_tokens(c))),
        },
        lambda x, ids, o: d.apply_exponential_decay(
            x, ids, o["factor"], start=o["start"], eos_token_id=o["eos"], prompt_length=o["prompt"]
        ),
        lambda ids, x, o: library.ExponentialDecayLengthPenalty((o["start"], o["factor"]), o["eos"], o["prompt"])(
            ids, x
        ),
        lambda ids, v, o: d.ExponentialDecayStep(
            o["factor"],
            start=o["start"],
            eos_token_id=o["eos"],
            batch_size=len(ids),
            vocab_size=v,
            length=ids.shape[1],
            prompt_length=o["prompt"],
        ),
        per_row=("factor", "start", "eos"),
    ),
    "prefix_allowed_tokens": Operation(
        lambda c: {"beams": c.rng.choice([1, c.batch_size])},
        lambda x, ids, o: d.apply_prefix_allowed_tokens(x, ids, _allowed, num_beams=o["beams"]),
        lambda ids, x, o: library.PrefixConstrainedLogitsProcessor(_allowed, o["beams"])(ids, x),
        lambda ids, v, o: d.PrefixAllowedTokensStep(ids, _allowed),
    ),
    "finite": Operation(
        lambda c: {},
        lambda x, ids, o: d.apply_finite(x),
        lambda ids, x, o: library.InfNanRemoveLogitsProcessor()(ids, x),
    ),
    "renormalize": Operation(
        lambda c: {},
        lambda x, ids, o: d.apply_renormalize(x),
        lambda ids, x, o: library.LogitNormalization()(ids, x),
    ),
    "guidance": Operation(
        lambda c: {"scale": c.rng.choice([0.0, 1.0, 1.5, c.rng.uniform(-2, 9)]), "unconditional": _other_logits(c)},
        lambda x, ids, o: d.apply_guidance(x, o["unconditional"].to(x.dtype), o["scale"]),
        _unbatched_guidance,
        per_row=("scale",),
        source="unconditional",
    ),
    "guidance_of_raw_logits": Operation(
        lambda c: {"scale": c.rng.uniform(1.001, 9), "unconditional": _other_logits(c)},
        lambda x, ids, o: d.apply_guidance(x, o["unconditional"].to(x.dtype), o["scale"], normalize=False),
        lambda ids, x, o: library.ClassifierFreeGuidanceLogitsProcessor(o["scale"])(
            ids, torch.cat([x, o["unconditional"].to(x.dtype)])
        ),
        per_row=("scale",),
        source="unconditional",
    ),
    "watermark": Operation(
        _lefthash,
        lambda x, ids, o: d.apply_watermark(x, ids, o["bias"], green_lists=d.GreenLists(x.shape[1], **o["lists"])),
        _watermark,
        lambda ids, v, o: d.WatermarkStep(ids, o["bias"], green_lists=d.GreenLists(v, **o["lists"])),
        per_row=("bias",),
    ),
    "dry": Operation(
        lambda c: {
            "multiplier": c.rng.choice([0.0, 0.8, 2.0]),
            "base": c.rng.choice([1.0, 1.1, 1.75, 3.0, 1e6]),
            "allowed": c.rng.randint(0, 3),
            "last_n": c.rng.randint(0, 30),
            "breakers": [tuple(_tokens(c, 3)) for _ in range(c.rng.randint(0, 3))],
        },
        lambda x, ids, o: d.apply_dry(
            x,
            ids,
            o["multiplier"],
            base=o["base"],
            allowed_length=o["allowed"],
            penalty_last_n=o["last_n"],
            sequence_breakers=o["breakers"],
        ),
        None,
        lambda ids, v, o: d.DryStep(
            ids,
            o["multiplier"],
            base=o["base"],
            allowed_length=o["allowed"],
            penalty_last_n=o["last_n"],
            sequence_breakers=o["breakers"],
        ),
        per_row=("multiplier", "base", "allowed", "last_n"),
        outside=True,
    ),
}
