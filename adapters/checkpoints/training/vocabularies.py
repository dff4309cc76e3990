"""Trains the tokenizers on the training text: WordPiece for the encoders, byte-level BPE for the other two."""

import json
import random
import re
import string
from collections.abc import Callable, Iterator
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from ..wordpiece import SPECIALS, wordpiece_tokenizer
from .corpus_rewriting import any_rewriting
from .corpus_stories import ASSISTANT, END, USER, anything, reading
from .names import Names

ENCODER_VOCAB, READING_VOCAB, REWRITING_VOCAB = 2600, 2000, 1500
MAX_LENGTH = 256
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|' + message['role'] + '|>\\n' + message['content'] + '<|end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\\n' }}{% endif %}"
)


def _texts(seed: int, count: int, draw: Callable[[Names], str], unlisted: float) -> Iterator[str]:
    names = Names(random.Random(seed), unlisted=unlisted)
    return (draw(names) for _ in range(count))


def wordpiece(seed: int, texts: int = 30_000) -> PreTrainedTokenizerFast:
    """Cased WordPiece as BERT has it. Numbers of two digits and more stay in pieces, and so do names.

    It is trained on made-up names alone: a listed name in one piece would say nothing of new names, which are in many.
    """
    trained = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    trained.normalizer = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    trained.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    characters = [c for c in string.printable[:94] + "éèêçàüöäñ–’" if c.strip()]
    continued = ["##" + c for c in characters if c.isalnum()]
    # Equal counts are merged by lower id, and the trainer numbers continued characters in the order of a hash of its
    # own: numbered beforehand, they make the same vocabulary in every run.
    trainer = trainers.WordPieceTrainer(
        vocab_size=4000, special_tokens=[*SPECIALS, *continued], show_progress=False, min_frequency=4
    )
    trained.train_from_iterator(_texts(seed, texts, lambda names: " ".join(anything(names)), 1.0), trainer)
    wanted = [*SPECIALS, *characters, *continued]
    ordered = sorted(trained.get_vocab().items(), key=lambda item: item[1])
    wanted += [piece for piece, _ in ordered if piece not in set(wanted) and not re.search(r"\d{2}", piece)]
    return wordpiece_tokenizer(wanted[:ENCODER_VOCAB], normalizer=trained.normalizer, max_length=MAX_LENGTH)


def _byte_level(texts: Iterator[str], vocab_size: int, specials: list[str]) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[AddedToken(token, special=True) for token in specials],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def reader(seed: int, texts: int = 20_000) -> PreTrainedTokenizerFast:
    """Byte-level BPE for the decoder-only model, with a chat template."""
    tokenizer = _byte_level(
        _texts(seed, texts, reading, 0.0), READING_VOCAB, ["<pad>", "<s>", "</s>", USER, ASSISTANT, END]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_max_length=MAX_LENGTH,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def rewriter(seed: int, texts: int = 30_000) -> PreTrainedTokenizerFast:
    """Byte-level BPE for the encoder-decoder; every text ends with ``</s>``."""

    def both(names: Names) -> str:
        drawn = any_rewriting(names)
        return f"{drawn.source}\n{drawn.target}"

    tokenizer = _byte_level(_texts(seed, texts, both, 1.0), REWRITING_VOCAB, ["<pad>", "</s>"])
    end = tokenizer.token_to_id("</s>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A $B </s>", special_tokens=[("</s>", end)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        model_max_length=MAX_LENGTH,
        model_input_names=["input_ids", "attention_mask"],
    )


def save(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the tokenizer so that transformers 4.57 and 5 both load it: 5 writes a class name that 4 does not know."""
    tokenizer.save_pretrained(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    config["tokenizer_class"] = "PreTrainedTokenizerFast"
    template = folder / "chat_template.jinja"
    if template.exists():  # one file less
        config["chat_template"] = template.read_text()
        template.unlink()
    path.write_text(json.dumps(config, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    table = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(table, ensure_ascii=False, separators=(",", ":")) + "\n")
