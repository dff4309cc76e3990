"""The model that puts drawn scenes into words: what is in a picture, from left to right."""

from collections.abc import Sequence
from typing import Any

import torch
import transformers
from numpy.random import Generator
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor

from ... import path
from . import scenes
from .models import pixels

Batch = dict[str, Any]
_CAPTION_WORDS = ("<pad>", "<s>", "</s>", "<unk>", "a", "and", *scenes.COLOURS, *scenes.SHAPES)
_PAD, _BEGIN, _END = 0, 1, 2
_LONGEST = 16


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


def own_loss(model: Any, batch: Batch) -> Tensor:
    loss: Tensor = model(**batch).loss
    return loss
