"""Calls of ``generate`` in the four removed modes, for the golden results and for the live oracle."""

import random
from typing import Any

from ..builders.seeded_models import VOCAB_SIZE

DECODERS = ("llama", "gpt2")
ENCODER_DECODERS = ("t5", "bart")


def mode_cases(count: int, seed: int) -> list[dict[str, Any]]:
    """``count`` cases, the modes and models by turns, options drawn from ``seed``."""
    draw = random.Random(seed)
    makers = [_group, _constrained, _contrastive, _dola]
    cases = []
    for index in range(count):
        maker = makers[index % 4]
        models = DECODERS if maker is _dola else DECODERS + ENCODER_DECODERS
        kind = models[(index // 4) % len(models)]
        cases.append({"model": kind, "inputs": _inputs(draw, kind), "options": _common(draw) | maker(draw)})
    return cases


def _inputs(draw: random.Random, kind: str) -> dict[str, list[list[int]]]:
    lengths = [draw.randint(1, 6) for _ in range(draw.randint(1, 3))]
    width = max(lengths)
    rows = [[draw.randrange(3, VOCAB_SIZE) for _ in range(length)] for length in lengths]
    left = kind in DECODERS
    pads = [[0] * (width - length) for length in lengths]
    zeros_ones = [([0] * (width - length), [1] * length) for length in lengths]
    return {
        "input_ids": [pad + row if left else row + pad for pad, row in zip(pads, rows, strict=True)],
        "attention_mask": [zero + one if left else one + zero for zero, one in zeros_ones],
    }


def _common(draw: random.Random) -> dict[str, Any]:
    options: dict[str, Any] = {"max_new_tokens": draw.randint(2, 9)}
    if draw.random() < 0.3:
        options["repetition_penalty"] = 1.3
    if draw.random() < 0.2:
        options["no_repeat_ngram_size"] = 2
    if draw.random() < 0.2:
        options["min_new_tokens"] = 3
    if draw.random() < 0.3:
        options["eos_token_id"] = [2, draw.randrange(3, VOCAB_SIZE), draw.randrange(3, VOCAB_SIZE)]
    if draw.random() < 0.5:
        options |= {"return_dict_in_generate": True, "output_scores": True}
    return options


def _beams(draw: random.Random, num_beams: int) -> dict[str, Any]:
    return {
        "num_beams": num_beams,
        "num_return_sequences": draw.randint(1, num_beams),
        "length_penalty": draw.choice([1.0, 1.0, 0.0, 2.0, -1.0]),
        "early_stopping": draw.choice([False, True, "never"]),
    }


def _group(draw: random.Random) -> dict[str, Any]:
    num_beams, num_groups = draw.choice([(2, 2), (4, 2), (6, 3), (6, 2), (4, 4)])
    return {
        **_beams(draw, num_beams),
        "num_beam_groups": num_groups,
        "diversity_penalty": draw.choice([0.5, 1.0, 10.0]),
    }


def _constrained(draw: random.Random) -> dict[str, Any]:
    def phrase(length: int) -> list[int]:
        return [draw.randrange(3, VOCAB_SIZE) for _ in range(length)]

    words: list[Any] = []
    for _ in range(draw.randint(1, 3)):
        if draw.random() < 0.5:
            words.append(phrase(draw.randint(1, 3)))
        else:
            first = draw.sample(range(3, VOCAB_SIZE), 3)
            shared = first[0]
            words.append(
                draw.choice(
                    [
                        [[first[0]], [first[1], first[2]]],
                        [[shared, first[1]], [shared, first[2]]],
                        [[shared, first[1], first[2]], [shared, first[2]], [first[1]]],
                        [[shared, first[1], first[1], first[2]], [shared, first[2], first[0]], [shared, first[0]]],
                    ]
                )
            )
    options = _beams(draw, draw.choice([2, 3, 5]))
    options["num_return_sequences"] = draw.randint(1, 2)
    return {**options, "force_words_ids": words}


def _contrastive(draw: random.Random) -> dict[str, Any]:
    return {"penalty_alpha": draw.choice([0.2, 0.6, 0.9]), "top_k": draw.choice([2, 4, 7])}


def _dola(draw: random.Random) -> dict[str, Any]:
    layers = draw.choice(["low", "high", [1, 3], [2], [0, 1, 2]])
    options: dict[str, Any] = {"dola_layers": layers, "do_sample": draw.random() < 0.4}
    if options["do_sample"]:
        options |= {"temperature": 0.8, "top_k": 10}
    return options
