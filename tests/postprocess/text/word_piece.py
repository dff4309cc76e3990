"""A small WordPiece tokenizer, built in memory."""

from tokenizers import normalizers

from afterlogits.adapters.checkpoints.wordpiece import SPECIALS, wordpiece_tokenizer

LETTERS = "abcdefghijklmnopqrstuvwxyz"


def build_tokenizer(model_max_length=64):
    """Letters, a few pieces of two letters, and punctuation; BERT's template."""
    pieces = [a + b for a in "aeiou" for b in "nrst"]
    vocab = [*SPECIALS, *LETTERS, *("##" + x for x in LETTERS), *pieces, *("##" + x for x in pieces), *".,?-"]
    return wordpiece_tokenizer(vocab, normalizer=normalizers.BertNormalizer(), max_length=model_max_length)


def draw_text(rng, longest=60):
    """Words, spaces, tabs, punctuation, capitals, accents, an emoji."""
    words = ["an", "Intersect", "rust", "TEN", "café", "x", "a-b", "🙂", "e\u0301t", "on.", "Is,it?", "  ", "\t"]
    return " ".join(str(word) for word in rng.choice(words, int(rng.integers(0, longest))))
