"""Tiny random transducers of Parakeet's kind (transformers 5): an encoder of frames, an LSTM of tokens, a head."""

from functools import cache
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

# Pieces as SentencePiece has them: \u2581 begins a word.
PIECES = ("<unk>", "<pad>", *(f"\u2581{word}" for word in ("the", "sea", "a", "in", "go", "red")))
PIECES += ("s", "er", "ing", "un", ".", ",", "!", "'", *"abcdeno")


@cache
def transducer(kind: str = "tdt", *, seed: int = 0) -> tuple[Any, Any, Any]:
    """A model ("tdt" or "rnnt"), its tokenizer and feature extractor."""
    from transformers import ParakeetFeatureExtractor, ParakeetTokenizer

    torch.manual_seed(seed)
    backend = Tokenizer(models.Unigram([(piece, -float(number)) for number, piece in enumerate(PIECES)], unk_id=0))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    tokenizer = ParakeetTokenizer(tokenizer_object=backend, unk_token="<unk>", pad_token="<pad>")
    model = _model(kind, blank=len(PIECES)).eval()
    with torch.no_grad():  # a blank about as often as all tokens together, so that the frames go on
        model.joint.head.bias[len(PIECES)] += 0.3 if kind == "tdt" else 1.0
    model.generation_config.decoder_start_token_id = len(PIECES)
    if kind == "tdt":  # the logits of durations come after those of tokens, and are no tokens
        model.generation_config.suppress_tokens = [len(PIECES) + 1 + n for n in range(len(model.config.durations))]
    return model, tokenizer, ParakeetFeatureExtractor()


def _model(kind: str, blank: int) -> Any:
    import transformers

    options: dict[str, Any] = {"vocab_size": blank + 1, "decoder_hidden_size": 16, "num_decoder_layers": 1}
    options |= {"pad_token_id": PIECES.index("<pad>"), "blank_token_id": blank, "max_symbols_per_step": 3}
    encoder = transformers.ParakeetEncoderConfig(
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        subsampling_conv_channels=8,
        initializer_range=0.5,
    )
    if kind == "tdt":
        return transformers.ParakeetForTDT(transformers.ParakeetTDTConfig(**options, encoder_config=encoder))
    return transformers.ParakeetForRNNT(transformers.ParakeetRNNTConfig(**options, encoder_config=encoder))
