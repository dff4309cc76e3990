"""The two models that put pictures into words: captions, and answers to questions about drawn scenes."""

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from numpy.random import Generator
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers
from torch import Tensor

from ... import path
from ...wordpiece import SPECIALS, wordpiece_tokenizer
from . import scenes
from .models import pixels

Batch = dict[str, Any]
NUMBERS = ("zero", "one", "two", "three")
ANSWERS = (*scenes.COLOURS, *NUMBERS, "yes", "no")
_CAPTION_WORDS = ("<pad>", "<s>", "</s>", "<unk>", "a", "and", *scenes.COLOURS, *scenes.SHAPES)
_PAD, _BEGIN, _END = 0, 1, 2
_LONGEST = 16
_SEEING: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
_SEEING |= {"image_size": scenes.SIZE, "patch_size": 8, "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def name_of(thing: scenes.Thing) -> str:
    return scenes.NAMES[thing.label]


def caption(things: Sequence[scenes.Thing]) -> str:
    """What is in a picture, from left to right."""
    return " and ".join(f"a {name_of(thing)}" for thing in sorted(things, key=lambda thing: thing.x))


def caption_tokenizer() -> Any:
    """A word a token."""
    vocabulary = {word: number for number, word in enumerate(_CAPTION_WORDS)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )


def captioner() -> Any:
    """The first three stages of ``shape-maps``, which tell shapes, and a GPT-2 of two layers that reads their 16
    places."""
    seen = transformers.SegformerForSemanticSegmentation.from_pretrained(path("shape-maps"), dtype=torch.float32)
    sizes: dict[str, Any] = {"num_encoder_blocks": 3, "reshape_last_stage": False}
    for name in ("hidden_sizes", "depths", "num_attention_heads", "sr_ratios", "patch_sizes", "strides", "mlp_ratios"):
        sizes[name] = list(getattr(seen.config, name))[:3]
    encoder = transformers.SegformerConfig(
        **sizes,
        hidden_size=sizes["hidden_sizes"][-1],
        drop_path_rate=0.0,
        hidden_dropout_prob=0.0,
        initializer_range=0.1,
    )
    decoder = transformers.GPT2Config(
        vocab_size=len(_CAPTION_WORDS),
        n_positions=_LONGEST,
        n_embd=64,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        initializer_range=0.08,
        bos_token_id=_BEGIN,
        eos_token_id=_END,
        add_cross_attention=True,
        is_decoder=True,
    )
    config = transformers.VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        encoder, decoder, decoder_start_token_id=_BEGIN, pad_token_id=_PAD, eos_token_id=_END
    )
    model = transformers.VisionEncoderDecoderModel(config=config)
    told = seen.segformer.state_dict()
    model.encoder.load_state_dict({name: told[name] for name in model.encoder.state_dict()})
    model.generation_config = transformers.GenerationConfig(
        decoder_start_token_id=_BEGIN, bos_token_id=_BEGIN, eos_token_id=_END, pad_token_id=_PAD, max_length=_LONGEST
    )
    return model


def captioner_parts() -> tuple[Any, ...]:
    side = {"height": scenes.SIZE, "width": scenes.SIZE}
    return transformers.ViTImageProcessor(size=side, do_normalize=False), caption_tokenizer()


def _drawn(rng: Generator) -> scenes.Scene:
    return scenes.draw(rng, scenes.apart(rng, 3))


def captioned_batch(rng: Generator, size: int) -> Batch:
    drawn = [_drawn(rng) for _ in range(size)]
    rows = [[_CAPTION_WORDS.index(word) for word in caption(each.things).split()] for each in drawn]
    labels = torch.full((size, _LONGEST - 1), -100)
    for own, row in zip(labels, rows, strict=True):
        own[: len(row) + 1] = torch.tensor([*row, _END])
    longest = int((labels >= 0).sum(1).max())
    return {"pixel_values": pixels([each.image for each in drawn]), "labels": labels[:, :longest]}


def question(rng: Generator, things: Sequence[scenes.Thing]) -> tuple[str, str]:
    """A question about a picture that has one right answer, and the answer: of numbers, colours and sides. Shapes are
    not asked for: patches of 8 pixels tell a small transformer too little of outlines."""
    colours = list(scenes.COLOURS)
    ordered = [colours[thing.colour] for thing in sorted(things, key=lambda thing: thing.x)]
    some = colours[int(rng.integers(4))] if rng.random() < 0.5 else ordered[int(rng.integers(len(ordered)))]
    asked = [
        ("how many things are there?", NUMBERS[len(things)]),
        (f"how many {some} things are there?", NUMBERS[ordered.count(some)]),
        (f"is there a {some} thing?", "yes" if some in ordered else "no"),
    ]
    if len(things) == 1:
        asked.append(("what colour is the thing?", ordered[0]))
    else:
        asked.append(("what colour is the thing on the left?", ordered[0]))
        asked.append(("what colour is the thing on the right?", ordered[-1]))
    return asked[int(rng.integers(len(asked)))]


_ASKED: tuple[str, ...] = ("how", "many", "things", "are", "there", "?", "is", "a", "what", "colour", "the", "thing")
_ASKED += ("on", "left", "right")


def question_tokenizer() -> Any:
    """WordPiece over the questions' words, with single letters for all others."""
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = sorted({*_ASKED, *scenes.COLOURS} - set(letters))
    pieces = [*SPECIALS, *letters, *(f"##{letter}" for letter in letters), *words]
    normalizer = normalizers.BertNormalizer(lowercase=True)
    return wordpiece_tokenizer(pieces, normalizer=normalizer, max_length=24)


_QUESTIONS = question_tokenizer()


def answerer() -> Any:
    config = transformers.ViltConfig(
        **_SEEING,
        vocab_size=len(_QUESTIONS),
        max_position_embeddings=24,
        max_image_length=-1,
        initializer_range=0.08,
        pad_token_id=_QUESTIONS.pad_token_id,
        id2label=dict(enumerate(ANSWERS)),
        label2id={answer: number for number, answer in enumerate(ANSWERS)},
    )
    return transformers.ViltForQuestionAnswering(config)


def answerer_parts() -> tuple[Any, ...]:
    processor = transformers.ViltImageProcessor(size={"shortest_edge": scenes.SIZE}, size_divisor=8, do_normalize=False)
    return processor, question_tokenizer()


def asked_batch(rng: Generator, size: int) -> Batch:
    drawn = [_drawn(rng) for _ in range(size)]
    pairs = [question(rng, each.things) for each in drawn]
    texts = _QUESTIONS([text for text, _ in pairs], padding=True, return_tensors="pt")
    labels = torch.zeros(size, len(ANSWERS))
    labels[torch.arange(size), torch.tensor([ANSWERS.index(answer) for _, answer in pairs])] = 1.0
    values = pixels([each.image for each in drawn])
    mask = torch.ones(size, scenes.SIZE, scenes.SIZE, dtype=torch.long)
    return {**texts, "pixel_values": values, "pixel_mask": mask, "labels": labels}


def own_loss(model: Any, batch: Batch) -> Tensor:
    loss: Tensor = model(**batch).loss
    return loss
