"""What the suite runs on: logits shaped like a language model's, small models from configurations, text.

Everything is drawn from a fixed seed with a generator of its own, so that a workload is the same in every run, process
and version, and drawing it leaves torch's global stream alone.
"""

from __future__ import annotations

import random
from typing import Any

import torch

VOCABULARIES = {"llama-2": 32_000, "gpt-2": 50_257, "llama-3": 128_256, "qwen-2": 151_936, "gemma": 262_144}
"""Vocabulary sizes of models in use."""

LARGE_VOCABULARY = VOCABULARIES["qwen-2"]
BATCHES = (1, 8, 64, 256)


def peaked(
    batch_size: int,
    vocab_size: int = LARGE_VOCABULARY,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Logits of a confident language model: a few hundred large values over a broad floor.

    [batch_size, vocab_size]. The floor is normal around -4 with deviation 2; 300 tokens per row, at random places, fall
    off from about 14 as the logarithm of their rank, so that probabilities follow a power law: at temperature 0.8 a
    nucleus of 0.9 holds a few dozen tokens.
    """
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch_size, vocab_size, generator=generator).mul_(2).sub_(4)
    count = min(300, vocab_size)
    ranks = torch.arange(1, count + 1, dtype=torch.float32)
    values = 14 - ranks.log() + 0.3 * torch.randn(batch_size, count, generator=generator)
    # Places may repeat within a row: the later value stands.
    places = torch.randint(vocab_size, (batch_size, count), generator=generator)
    return logits.scatter_(1, places, values).to(device=device, dtype=dtype)


def flat(
    batch_size: int,
    vocab_size: int = LARGE_VOCABULARY,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Logits of an undecided model: normal with deviation 1, so that a nucleus of 0.9 holds most of the vocabulary."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch_size, vocab_size, generator=generator).to(device=device, dtype=dtype)


def adversarial(
    batch_size: int,
    vocab_size: int = LARGE_VOCABULARY,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> torch.Tensor:
    """Logits on which no shortcut can prove itself: twenty distinct values only, so that every threshold is a tie."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(20, (batch_size, vocab_size), generator=generator).to(device=device, dtype=dtype)


SHAPES = {"peaked": peaked, "flat": flat, "adversarial": adversarial}


def history(
    batch_size: int,
    length: int,
    vocab_size: int = LARGE_VOCABULARY,
    *,
    seed: int = 0,
    repeats: float = 0.5,
) -> torch.Tensor:
    """Token ids already written, [batch_size, length] int64: a power law over the ids, and words that come back.

    A token repeats one of the earlier tokens of its row with probability ``repeats`` and is drawn from the power law
    otherwise. 4,096 tokens of 151,936 ids then hold about 1,250 different ones; 4,096 words and marks of English
    reference manuals and licences hold 850 to 1,100. Without repeats they hold 2,250.
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = (vocab_size ** torch.rand(batch_size, length, generator=generator)).long().clamp_(max=vocab_size - 1)
    places = torch.arange(length)
    earlier = (torch.rand(batch_size, length, generator=generator) * places).long()
    source = torch.where(torch.rand(batch_size, length, generator=generator) < repeats, earlier, places)
    while not torch.equal(source, source.gather(1, source)):  # a repeat of a repeat is one of the first
        source = source.gather(1, source)
    return drawn.gather(1, source)


def tiny_llama(
    *, layers: int = 2, hidden: int = 64, vocab_size: int = LARGE_VOCABULARY, seed: int = 0, max_length: int = 4096
) -> Any:
    """A Llama of random weights, eval mode, float32, that never stops early (no end-of-sequence token)."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 16),
        num_key_value_heads=max(1, hidden // 16),
        max_position_embeddings=max_length,
        bos_token_id=None,
        eos_token_id=None,
        pad_token_id=0,
    )
    return _seeded(lambda: LlamaForCausalLM(config), seed)


def marian_sized(vocab_size: int = 58_101) -> Any:
    """The configuration of an encoder-decoder of the size of the OPUS-MT models: 6 + 6 layers of 512, 58,101 words."""
    from transformers import BartConfig

    return BartConfig(
        vocab_size=vocab_size,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        decoder_start_token_id=2,
        forced_eos_token_id=None,
        normalize_before=False,  # CTranslate2's converter reads it; transformers 5 no longer sets it
    )


def bert_config(*, layers: int = 6, hidden: int = 384, vocab_size: int = 30_522, num_labels: int = 9) -> Any:
    """The configuration of a small BERT, 6 layers of 384 by default (the size of MiniLM), 512 positions."""
    from transformers import BertConfig

    return BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=max(1, hidden // 32),
        intermediate_size=4 * hidden,
        num_labels=num_labels,
        max_position_embeddings=512,
    )


def from_config(architecture: str, config: Any, *, seed: int = 0) -> Any:
    """A model of random weights in eval mode: ``from_config("BertForTokenClassification", bert_config())``."""
    import transformers

    return _seeded(lambda: getattr(transformers, architecture)(config), seed)


def _seeded(build: Any, seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build().eval()


def prompts(
    batch_size: int,
    length: int,
    vocab_size: int = LARGE_VOCABULARY,
    *,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> torch.Tensor:
    """Prompts without padding: [batch_size, length] token ids, none of them 0."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(1, vocab_size, (batch_size, length), generator=generator).to(device)


def geometric_lengths(count: int = 64, *, mean: int = 32, longest: int = 256, seed: int = 0) -> list[int]:
    """How many tokens each row may write: geometric of the given mean, at least 1, and one row the longest of all."""
    draw = random.Random(seed)
    lengths = [1]
    while len(lengths) < count:
        steps = 1
        while draw.random() > 1 / mean and steps < longest:
            steps += 1
        lengths.append(steps)
    lengths[0] = longest
    return lengths


_NAMES = ["Ada Lovelace", "Grace Hopper", "Alan Turing", "Emmy Noether", "Paul Erdős", "Sofya Kovalevskaya"]
_PLACES = ["Paris", "New York", "Lima", "Kyoto", "Nairobi", "São Paulo", "Zürich", "Rio de Janeiro"]
_FIRMS = ["Acme Corp", "Globex", "Initech", "Umbrella Group", "Hooli", "Stark Industries"]
_PLAIN = """
the a of to and in that it is was for on with as at by from this have or an be which not but are they we were meeting
report river bridge engine market garden winter summer letter station harbour council question answer slowly quickly
often never always moved opened closed wrote read found lost built sold bought early late
"""
_WORDS = _PLAIN.split()


def sentence(draw: random.Random, words: int) -> str:
    """One sentence of plain words with names, places and firms in it."""
    parts = []
    for _ in range(words):
        chance = draw.random()
        kind = _NAMES if chance < 0.04 else _PLACES if chance < 0.08 else _FIRMS if chance < 0.11 else _WORDS
        parts.append(draw.choice(kind))
    text = " ".join(parts)
    return text[:1].upper() + text[1:] + "."


def lines(count: int = 600, *, seed: int = 0) -> list[str]:
    """Lines of text as logs and messages have them: nine in ten under 100 characters, the rest up to 500."""
    draw = random.Random(seed)
    out = []
    for index in range(count):
        longest = 500 if index % 10 == 9 else 99
        shortest = 100 if index % 10 == 9 else 15
        text = sentence(draw, draw.randint(shortest // 6 + 1, longest // 5))
        while len(text) < shortest:
            text += " " + sentence(draw, 8)
        out.append(text[:longest].rstrip())
    return out


def questions(count: int = 60, *, seed: int = 0) -> list[tuple[str, str]]:
    """(question, context): contexts of 30 to 1,200 words, evenly spread and shuffled, one fact of each asked for."""
    draw = random.Random(seed)
    sizes = [30 + round(index * (1200 - 30) / max(1, count - 1)) for index in range(count)]
    draw.shuffle(sizes)
    pairs = []
    for size in sizes:
        name, place = draw.choice(_NAMES), draw.choice(_PLACES)
        sentences = [f"{name} lived in {place}."]
        written = 5
        while written < size:
            length = min(draw.randint(6, 18), max(3, size - written))
            sentences.append(sentence(draw, length))
            written += len(sentences[-1].split())
        draw.shuffle(sentences)
        pairs.append((f"Where did {name} live?", " ".join(sentences)))
    return pairs


def masked_lines(count: int = 64, *, mask: str = "[MASK]", seed: int = 0) -> list[str]:
    """Lines of 5 to 60 words with one word masked."""
    draw = random.Random(seed)
    out = []
    for _ in range(count):
        words = sentence(draw, draw.randint(5, 60)).split()
        words[draw.randrange(len(words))] = mask
        out.append(" ".join(words))
    return out


def wordpiece_tokenizer(*, vocab_size: int = 30_522, max_length: int = 512) -> Any:
    """A fast BERT tokenizer of these texts' words and letters, padded with unused entries to a real size."""
    from tokenizers import normalizers

    from afterlogits.adapters.checkpoints import wordpiece

    spoken = sorted({word for text in [*_WORDS, *_NAMES, *_PLACES, *_FIRMS] for word in text.split()})
    # Long words stay split in two, as in a trained vocabulary, so that words and tokens differ.
    pieces = [word if len(word) <= 7 else word[:4] for word in spoken]
    pieces += ["##" + word[4:] for word in spoken if len(word) > 7]
    letters = sorted({letter for word in spoken for letter in word} | set("abcdefghijklmnopqrstuvwxyz.,?!0123456789"))
    entries = [*wordpiece.SPECIALS, *pieces, *letters, *("##" + letter for letter in letters), "Where", "did", "lived"]
    entries = list(dict.fromkeys(entries))
    entries += [f"[unused{index}]" for index in range(len(entries), vocab_size)]
    return wordpiece.wordpiece_tokenizer(entries, normalizer=normalizers.NFC(), max_length=max_length)


def byte_pair_tokenizer(vocab_size: int = LARGE_VOCABULARY) -> Any:
    """A byte-level BPE tokenizer of ``vocab_size`` tokens: the bytes, then every string of common characters, short
    ones first. Token 0 ends a text and pads."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = [*"etaoinshrdlucmfwypvbgkjqxz", *",.-\"'{}[]:0123456789"]
    tokens = ["<|end|>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    merges: list[tuple[str, str]] = []
    starts = ["Ġ", *letters]
    while len(tokens) < vocab_size:
        pairs = [(start, letter) for start in starts for letter in letters][: vocab_size - len(tokens)]
        merges += pairs
        starts = [start + letter for start, letter in pairs]
        tokens += starts
    backend = Tokenizer(models.BPE(vocab={token: number for number, token in enumerate(tokens)}, merges=merges))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|end|>", pad_token="<|end|>")
