"""A small WordPiece tokenizer, built in memory."""

from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def build_tokenizer(model_max_length=64):
    """Letters, a few pieces of two letters, and punctuation; BERT's template."""
    pieces = [a + b for a in "aeiou" for b in "nrst"]
    vocab = [*SPECIAL, *LETTERS, *("##" + x for x in LETTERS), *pieces, *("##" + x for x in pieces), *".,?-"]
    backend = Tokenizer(models.WordPiece({token: i for i, token in enumerate(vocab)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.post_processor = processors.BertProcessing(("[SEP]", vocab.index("[SEP]")), ("[CLS]", vocab.index("[CLS]")))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=model_max_length,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def draw_text(rng, longest=60):
    """Words, spaces, tabs, punctuation, capitals, accents, an emoji."""
    words = ["an", "Intersect", "rust", "TEN", "café", "x", "a-b", "🙂", "e\u0301t", "on.", "Is,it?", "  ", "\t"]
    return " ".join(str(word) for word in rng.choice(words, int(rng.integers(0, longest))))
