"""Drawn logits for the beam search, and small n-gram models as ARPA files."""

from __future__ import annotations

import random

import torch

LABELS = ["", " ", *"abcdefghijklmnopqrstuvwxyz'"]


def draw_logits(seed, *, frames=None, symbols=None, noise=None):
    """[T, V] logits, most of them of something said: peaks of one or two frames between blanks; and the labels."""
    generator, draw = torch.Generator().manual_seed(seed), random.Random(seed)
    size = symbols or draw.choice([3, 5, len(LABELS)])
    frames = frames or draw.randint(1, 40)
    logits = torch.randn(frames, size, generator=generator) * (noise or draw.choice([0.5, 1, 2, 4]))
    if draw.random() < 0.7 or noise:
        time = 0
        while time < frames:
            run = draw.choice([1, 1, 2])
            logits[time : time + run, draw.randrange(size)] += draw.choice([2, 4, 6])
            silence = draw.choice([0, 1, 3])
            logits[time + run : time + run + silence, 0] += 4
            time += run + silence
    return logits, LABELS[:size]


def draw_words(seed, labels):
    draw = random.Random(seed)
    letters = [label for label in labels if label.strip()]
    return sorted({"".join(draw.choices(letters, k=draw.randint(1, 4))) for _ in range(8)})


def write_arpa(path, words, seed, *, order=3, unknown=True):
    """An n-gram model with numbers drawn at random; some n-grams are missing, so that back-off is needed."""
    draw = random.Random(seed)
    singles = ["<s>", "</s>", *(["<unk>"] if unknown else []), *words]
    pairs = [(a, b) for a in ["<s>", *words] for b in [*words, "</s>"] if draw.random() < 0.5]
    triples = [
        (a, b, c) for a, b in pairs if b != "</s>" for c in [*words, "</s>"] if (b, c) in pairs and draw.random() < 0.4
    ]
    grams = [[(word,) for word in singles], pairs, triples][:order]
    lines = ["\\data\\", *(f"ngram {size}={len(each)}" for size, each in enumerate(grams, 1)), ""]
    for size, each in enumerate(grams, 1):
        lines.append(f"\\{size}-grams:")
        for gram in each:
            logprob = -99 if gram == ("<s>",) else round(-draw.random() * 3 - 0.05, 4)
            backoff = f"\t{round(-draw.random() * 3, 4)}" if size < order and gram[-1] != "</s>" else ""
            lines.append(f"{logprob}\t{' '.join(gram)}{backoff}")
        lines.append("")
    path.write_text("\n".join([*lines, "\\end\\", ""]))
