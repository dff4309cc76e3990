"""The ViLT that ships, which answers questions about drawn scenes.

Told answers alone, a transformer of this size learns colours and never shapes. So it is told more: heads that are
dropped in the end read from a middle layer what each patch of 8 x 8 pixels shows, which is which thing covers it and
whether a thing's centre lies in it, and from the next one whether that thing stands furthest left or right. It learns
that first, from pictures without questions, then all together.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from numpy.random import Generator
from numpy.typing import NDArray
from tokenizers import normalizers
from torch import Tensor, nn
from torch.nn import functional

from ...wordpiece import SPECIALS, wordpiece_tokenizer
from . import scenes
from .models import pixels
from .scene_questions import ANSWERS, KINDS, Question, question

Batch = dict[str, Any]
PATCH = 8
SIDE = scenes.SIZE // PATCH
HIDDEN, LAYERS, SEEN_AT = 64, 5, 3
LONGEST = 16
_LEAST = 0.35
"""The share of a patch that a thing has to cover to be what the patch shows."""
_ASKED = (*KINDS, "number", "place")
"""The kinds in training: the two hard ones twice."""
_WORDS = (
    "what colour color is the how many thing things are there a shape on left right red green blue yellow circle "
    "square triangle circles squares triangles"
)


def tokenizer() -> Any:
    letters = [chr(code) for code in range(ord("a"), ord("z") + 1)]
    words = [word for word in _WORDS.split() if word not in letters]
    pieces = [*SPECIALS, *letters, *(f"##{letter}" for letter in letters), *"?.,!", *words]
    return wordpiece_tokenizer(pieces, normalizer=normalizers.BertNormalizer(lowercase=True), max_length=LONGEST)


_TOKENIZER = tokenizer()


def answerer() -> Any:
    """The model with the heads ``shown``, of patches [HIDDEN]: "what", the names of things, ground and centre, and
    "side", left and right."""
    config = transformers.ViltConfig(
        vocab_size=len(_TOKENIZER),
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=LONGEST,
        image_size=scenes.SIZE,
        patch_size=PATCH,
        initializer_range=0.1,
        pad_token_id=_TOKENIZER.pad_token_id,
        id2label=dict(enumerate(ANSWERS)),
        label2id={answer: number for number, answer in enumerate(ANSWERS)},
    )
    model = transformers.ViltForQuestionAnswering(config)
    with torch.no_grad():
        model.vilt.embeddings.position_embeddings[0, 1:] = _places()
        # Keys that begin as queries: a patch looks at its like and at its neighbours.
        for layer in model.vilt.encoder.layer:
            own = layer.attention.attention
            own.key.weight.copy_(own.query.weight)
    sizes = {"what": len(scenes.NAMES) + 2, "side": 2}
    heads = {name: nn.Sequential(nn.LayerNorm(HIDDEN), nn.Linear(HIDDEN, size)) for name, size in sizes.items()}
    model.shown = nn.ModuleDict(heads)
    return model


def _places() -> Tensor:
    """Waves of rows and of columns, so that near patches begin alike [SIDE * SIDE, HIDDEN]."""
    quarter = HIDDEN // 4
    lengths = 4.0 * 8.0 ** (torch.arange(quarter) / quarter)
    angles = torch.arange(SIDE)[:, None] / lengths * 2 * math.pi
    rows = 0.5 * torch.cat([angles.sin(), angles.cos()], dim=1)[:, None].expand(SIDE, SIDE, -1)
    return torch.cat([rows, rows.transpose(0, 1)], dim=2).flatten(0, 1)


def answerer_parts() -> tuple[Any, ...]:
    processor = transformers.ViltImageProcessor(size={"shortest_edge": scenes.SIZE}, size_divisor=PATCH)
    return processor, tokenizer()


def patch_truth(scene: scenes.Scene) -> NDArray[np.int64]:
    """Per patch the thing that covers most of it, the last name for ground; whether a centre lies in it; whether its
    thing is the leftmost; whether the rightmost [4, SIDE * SIDE]."""
    cover = np.full((len(scene.things) + 1, SIDE * SIDE), _LEAST * PATCH * PATCH)
    centres = np.zeros(SIDE * SIDE, dtype=np.int64)
    for number, thing in enumerate(scene.things):
        cover[number] = thing.mask().reshape(SIDE, PATCH, SIDE, PATCH).sum((1, 3)).ravel()
        centres[int(thing.y) // PATCH * SIDE + int(thing.x) // PATCH] = 1
    names = np.array([*(thing.label for thing in scene.things), len(scenes.NAMES)])
    own, across = cover.argmax(0), [thing.x for thing in scene.things]
    left, right = own == int(np.argmin(across)), own == int(np.argmax(across))
    return np.stack([names[own], centres, left, right]).astype(np.int64)


def _drawn(rng: Generator, size: int) -> list[scenes.Scene]:
    return [scenes.draw(rng, scenes.apart(rng, 3)) for _ in range(size)]


def seen_batch(rng: Generator, size: int) -> Batch:
    """Pictures of one to three things and what their patches show."""
    return _as_seen(_drawn(rng, size))


def _as_seen(drawn: Sequence[scenes.Scene]) -> Batch:
    """Pixels from -1 to 1, as the processor makes them."""
    return {
        "pixel_values": pixels([scene.image for scene in drawn]) * 2 - 1,
        "shown": torch.from_numpy(np.stack([patch_truth(scene) for scene in drawn])),
    }


def asked_batch(rng: Generator, size: int) -> Batch:
    """A question each about fresh pictures."""
    drawn = _drawn(rng, size)
    asked: list[Question] = [question(rng, scene.things, _ASKED) for scene in drawn]
    texts = _TOKENIZER([each.text for each in asked], padding=True, return_tensors="pt")
    answers = torch.tensor([ANSWERS.index(each.answer) for each in asked])
    return {**_as_seen(drawn), **texts, "labels": functional.one_hot(answers, len(ANSWERS)).float()}


def seeing_loss(model: Any, batch: Batch) -> Tensor:
    """Of what the patches show, read from the layers below the heads without a question."""
    embeddings = model.vilt.embeddings
    patches = _patches(model, batch)[:, 1:] + embeddings.token_type_embeddings.weight[1]
    for layer in model.vilt.encoder.layer[:SEEN_AT]:
        patches = layer(patches)[0]
    return _shown_loss(model, patches, model.vilt.encoder.layer[SEEN_AT](patches)[0], batch["shown"])


def answering_loss(model: Any, batch: Batch) -> Tensor:
    """Of the answers, and of what the patches show.

    The patches go in as embedded ones, in their order: transformers shuffles those of ``pixel_values``, which changes
    no answer and would hide which is which.
    """
    patches = _patches(model, batch)
    out = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        image_embeds=patches,
        pixel_mask=torch.ones(patches.shape[:2], dtype=torch.long),
        labels=batch["labels"],
        output_hidden_states=True,
    )
    first = batch["input_ids"].shape[1] + 1
    answers: Tensor = out.loss
    seen, later = (out.hidden_states[layer][:, first:] for layer in (SEEN_AT, SEEN_AT + 1))
    return answers + 4 * _shown_loss(model, seen, later, batch["shown"])


def _patches(model: Any, batch: Batch) -> Tensor:
    """The first token of a picture and its patches with their places [B, 1 + SIDE * SIDE, HIDDEN]."""
    embeddings = model.vilt.embeddings
    patches = embeddings.patch_embeddings(batch["pixel_values"]).flatten(2).transpose(1, 2)
    begin = embeddings.cls_token.expand(len(patches), -1, -1)
    placed: Tensor = torch.cat([begin, patches], dim=1) + embeddings.position_embeddings
    return placed


def _shown_loss(model: Any, seen: Tensor, later: Tensor, truth: Tensor) -> Tensor:
    """seen, later: the patches [B, SIDE * SIDE, HIDDEN] of the layers that the two heads read."""
    what, side = model.shown["what"](seen), model.shown["side"](later)
    names = functional.cross_entropy(what[..., :-1].flatten(0, 1), truth[:, 0].flatten())
    flags = torch.cat([what[..., -1:], side], dim=2).transpose(1, 2)  # [B, 3, SIDE * SIDE]
    return names + 3 * functional.binary_cross_entropy_with_logits(flags, truth[:, 1:].float())
