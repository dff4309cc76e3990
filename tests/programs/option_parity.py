"""Drawn calls of generate: random combinations of its arguments, transformers' answer and this engine's.

``python -m tests.programs.option_parity [CASES] [FIRST SEED]`` prints the count for every mode and, for a call that
differs, its seed and the fewest of its arguments that still differ. A call transformers refuses must be refused with
the same class of error, or with a ValueError. With an answer, everything must be equal: tokens, the random stream
afterwards, and where they were asked for scores and logits (to 1e-5), beam indices and the lengths of all tuples.
"""

from __future__ import annotations

import random
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import transformers
from transformers import GenerationMixin

from afterlogits.adapters import generate
from afterlogits.adapters.generation.model_inputs import CACHE
from tests.builders.architectures import EOS, PAD, VOCAB_SIZE, tiny_inputs, tiny_model

MODELS = {"llama": False, "gpt2": False, "t5": True, "bart": True}
IS_OLD = not hasattr(GenerationMixin, "_prefill")  # transformers 4.57
Options = dict[str, Any]
TENSORS = ("scores", "logits", "sequences_scores", "beam_indices")


@cache
def model_of(name: str) -> Any:
    """One model for all cases."""
    return tiny_model(name, encoder_decoder=MODELS[name])


def words(rng: random.Random, count: int, longest: int) -> list[list[int]]:
    """Distinct sequences of ids, the EOS left out."""
    drawn = {tuple(rng.randrange(3, VOCAB_SIZE) for _ in range(rng.randint(1, longest))) for _ in range(count)}
    return [list(word) for word in sorted(drawn)]


def favoured(row: int, ids: torch.Tensor) -> list[int]:
    """Allowed tokens that depend on the row and the length."""
    return [3 + row, 20, 30 + len(ids) % 5, 40, EOS]


# Each argument of generate that these draws know, with how its value is drawn.
COMMON: dict[str, Callable[[random.Random], Any]] = {
    "max_new_tokens": lambda rng: rng.randint(1, 12),
    "min_new_tokens": lambda rng: rng.randint(1, 8),
    "min_length": lambda rng: rng.randint(0, 14),
    "eos_token_id": lambda rng: rng.choice([None, [EOS, 5], [EOS, *range(20, 60)], 7]),
    "repetition_penalty": lambda rng: rng.choice([0.7, 1.1, 1.3, 2.5]),
    "no_repeat_ngram_size": lambda rng: rng.randint(1, 4),
    "encoder_repetition_penalty": lambda rng: rng.choice([0.6, 1.5]),
    "encoder_no_repeat_ngram_size": lambda rng: rng.randint(1, 3),
    "bad_words_ids": lambda rng: words(rng, rng.randint(1, 12), 3),
    "sequence_bias": lambda rng: [[word, rng.uniform(-4, 4)] for word in words(rng, rng.randint(1, 8), 3)],
    "suppress_tokens": lambda rng: rng.sample(range(3, VOCAB_SIZE), rng.randint(1, 40)),
    "begin_suppress_tokens": lambda rng: rng.sample(range(2, VOCAB_SIZE), rng.randint(1, 40)),
    "forced_bos_token_id": lambda rng: rng.randrange(3, VOCAB_SIZE),
    "forced_eos_token_id": lambda rng: rng.choice([EOS, [EOS, 5]]),
    "exponential_decay_length_penalty": lambda rng: (rng.randint(0, 6), rng.choice([0.8, 1.2, 1.7])),
    "prefix_allowed_tokens_fn": lambda rng: favoured,
    "remove_invalid_values": lambda rng: True,
    "renormalize_logits": lambda rng: True,
    "guidance_scale": lambda rng: rng.choice([0.5, 1.4]),
    "watermarking_config": lambda rng: {
        "bias": rng.choice([1.0, 3.0]),
        "greenlist_ratio": rng.choice([0.25, 0.5]),
        "seeding_scheme": rng.choice(["lefthash", "selfhash"]),
        "context_width": rng.randint(1, 3),
    },
    "use_cache": lambda rng: False,
}
SAMPLED: dict[str, Callable[[random.Random], Any]] = {
    "temperature": lambda rng: rng.choice([0.3, 0.8, 1.0, 1.7]),
    "top_k": lambda rng: rng.choice([0, 1, 3, 20, 500]),
    "top_p": lambda rng: rng.choice([0.1, 0.5, 0.9, 1.0]),
    "min_p": lambda rng: rng.choice([0.0, 0.05, 0.4, 1.0]),
    "typical_p": lambda rng: rng.choice([0.2, 0.9, 1.0]),
    "epsilon_cutoff": lambda rng: rng.choice([3e-3, 3e-2]),
    "eta_cutoff": lambda rng: rng.choice([3e-3, 3e-2]),
    "top_h": lambda rng: rng.choice([0.3, 0.8]),
}
BEAMS: dict[str, Callable[[random.Random], Any]] = {
    "early_stopping": lambda rng: rng.choice([True, False, "never"]),
    "length_penalty": lambda rng: rng.choice([-1.0, 0.0, 0.5, 2.0]),
}
ASKED = ("output_scores", "output_logits", "output_attentions", "output_hidden_states")
# Arguments that 4.57 lacks, and one that it computes otherwise: NaN where the end is ruled out, which then wins.
NEWER = {"top_h", "watermarking_config", "exponential_decay_length_penalty"}


def drawn(seed: int) -> tuple[str, str, torch.Tensor, Options]:
    """The model's name, the mode's, the prompts [B, T] padded on the left, and the arguments of a case."""
    rng = random.Random(seed)
    name = rng.choice(sorted(MODELS))
    rows, length = rng.randint(1, 4), rng.randint(2, 9)
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(3, rng.choice([12, VOCAB_SIZE]), (rows, length), generator=generator)
    if rng.random() < 0.5:
        for row in range(rows):
            ids[row, : rng.randrange(length)] = PAD
    mode = rng.choice(["greedy", "sampling", "beam search", "beam sampling"])
    options: Options = {"max_new_tokens": 10, "pad_token_id": PAD}
    known = dict(COMMON)
    if "sampling" in mode:
        options["do_sample"], known = True, {**known, **SAMPLED, **SAMPLED}
    if "beam" in mode:
        options["num_beams"], known = rng.randint(2, 5), {**known, **BEAMS}
    if mode != "greedy" and rng.random() < 0.4:
        options["num_return_sequences"] = rng.randint(1, options.get("num_beams", 3))
    for option in sorted(known):
        often = 0.5 if option in SAMPLED or option in BEAMS else 0.12
        if rng.random() < often and not (IS_OLD and option in NEWER):
            options[option] = known[option](rng)
    if rng.random() < 0.3:
        options["return_dict_in_generate"] = True
        options.update({flag: True for flag in ASKED if rng.random() < 0.5})
    return name, mode, ids, options


def answer(call: Callable[..., Any], model: Any, ids: torch.Tensor, options: Options) -> tuple[Any, torch.Tensor]:
    """What a call returns or raises, and the random state afterwards."""
    torch.manual_seed(23)
    try:
        output = call(**tiny_inputs(model, ids), **options)
    except Exception as error:  # whatever transformers raises is its answer
        output = error
    return output, torch.get_rng_state()


def difference(name: str, ids: torch.Tensor, options: Options) -> str:
    """What differs between the two answers, in words; empty where nothing does."""
    model = model_of(name)
    model.set_attn_implementation("eager" if options.get("output_attentions") else "sdpa")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, state = answer(model.generate, model, ids, options)
        ours, our_state = answer(lambda **given: generate(model, **given), model, ids, options)
    if isinstance(theirs, ValueError) and "of distribution Categorical" in str(theirs):
        return ""  # transformers' eta and top-h fail where a beam has no token left; docs/semantics/sampling.md
    if isinstance(theirs, Exception) or isinstance(ours, Exception):
        same = isinstance(theirs, Exception) and isinstance(ours, (type(theirs), ValueError))
        return "" if same else f"theirs {theirs!r}, ours {ours!r}"
    if not torch.equal(state, our_state):
        return "the random state differs"
    if isinstance(theirs, torch.Tensor):
        return "" if torch.equal(theirs, ours) else f"theirs {theirs.tolist()}, ours {ours.tolist()}"
    return outputs_difference(theirs, ours)


def outputs_difference(theirs: Any, ours: Any) -> str:
    """The same for answers with scores and the rest."""
    if type(theirs) is not type(ours) or set(theirs) != set(ours):
        return f"theirs {type(theirs).__name__} {sorted(theirs)}, ours {type(ours).__name__} {sorted(ours)}"
    if not torch.equal(theirs.sequences, ours.sequences):
        return f"theirs {theirs.sequences.tolist()}, ours {ours.sequences.tolist()}"
    for field in theirs:
        if field == CACHE:
            continue
        one, other = flattened(theirs[field]), flattened(ours[field])
        if len(one) != len(other):
            return f"{field}: {len(one)} and {len(other)} tensors"
        for place, (left, right) in enumerate(zip(one, other, strict=True)):
            if left.shape != right.shape:
                return f"{field}, tensor {place}: {list(left.shape)} and {list(right.shape)}"
            close = torch.isclose(left.double(), right.double(), rtol=1e-5, atol=1e-5, equal_nan=True)
            if not bool(close.all()):
                return f"{field}, tensor {place}: {int((~close).sum())} of {close.numel()} values differ"
    return ""


def flattened(nested: Any) -> list[torch.Tensor]:
    """The tensors of nested tuples, in order; None has none."""
    if nested is None:
        return []
    return [nested] if isinstance(nested, torch.Tensor) else [tensor for part in nested for tensor in flattened(part)]


def fewest(name: str, ids: torch.Tensor, options: Options) -> Options:
    """The options without those that are not needed for a difference."""
    for option in list(options):
        fewer = {key: value for key, value in options.items() if key != option}
        if difference(name, ids, fewer):
            options = fewer
    return options


def compare(seed: int) -> tuple[str, str]:
    """The mode of a case, and how it differs: empty where it does not."""
    name, mode, ids, options = drawn(seed)
    found = difference(name, ids, options)
    if not found:
        return mode, ""
    options = fewest(name, ids, options)
    return mode, f"seed {seed}, {name}, prompts {ids.tolist()}, {options}: {difference(name, ids, options)}"


def main(cases: int, first: int) -> int:
    """Compare and print; 1 if any call differs."""
    transformers.utils.logging.set_verbosity_error()
    total, wrong = Counter[str](), Counter[str]()
    for seed in range(first, first + cases):
        mode, found = compare(seed)
        total[mode] += 1
        if found:
            wrong[mode] += 1
            print(found, flush=True)
        if (seed - first + 1) % 500 == 0:
            print(f"{seed - first + 1} of {cases} calls", file=sys.stderr, flush=True)
    for mode in sorted(total):
        print(f"{mode}: {total[mode] - wrong[mode]} of {total[mode]} drawn calls equal")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
