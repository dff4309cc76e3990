"""Tokenizers of every family, built on the spot, and tiny random encoder models that go with them."""

import json
import random
from functools import cache

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertForMaskedLM,
    BertForMultipleChoice,
    BertForNextSentencePrediction,
    BertForQuestionAnswering,
    BertForSequenceClassification,
    BertForTokenClassification,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    PreTrainedTokenizer,
    PreTrainedTokenizerFast,
)

from afterlogits.adapters.checkpoints.wordpiece import SPECIALS, wordpiece_tokenizer

TEXT = """
    the of and in is was Paris Berlin London Maria Ada Lovelace works for Acme Inc. New York City Hugging Face river
    Montréal café naïve Zürich Москва Россия работает 東京 日本 北京 서울 القاهرة ירושלים दिल्ली กรุงเทพ 😀 👩‍🚀 🇫🇷
    e\u0301te\u0301 x, y. (z) don't it's 3.14 1,200 $5 50% a-b C++ tokenizer unbelievable headquarters bridge near
"""
WORDS = TEXT.split()
FAMILIES = ("wordpiece", "bytelevel", "unigram")
LABELS = ("O", "B-PER", "I-PER", "B-ORG", "I-ORG", "B-LOC", "I-LOC", "B-MISC", "I-MISC")


def corpus(lines: int = 400, seed: int = 0) -> list[str]:
    drawn = random.Random(seed)
    return [" ".join(drawn.choices(WORDS, k=drawn.randint(3, 20))) for _ in range(lines)]


@cache
def wordpiece(model_max_length: int = 64) -> PreTrainedTokenizerFast:
    """As BERT's: lower case off, continuing pieces marked with ##, special tokens [CLS] and [SEP]."""
    words = sorted(set(WORDS))
    letters = sorted({letter for word in words for letter in word})
    # Long words are cut in two. A trained vocabulary would differ from process to process where its counts tie.
    starts = [word if len(word) <= 6 else word[:4] for word in words]
    ends = ["##" + word[4:] for word in words if len(word) > 6]
    pieces = dict.fromkeys([*SPECIALS, *letters, *("##" + letter for letter in letters), *starts, *ends])
    normalizer = normalizers.BertNormalizer(lowercase=False)
    return wordpiece_tokenizer(pieces, normalizer=normalizer, max_length=model_max_length)


@cache
def bytelevel(model_max_length: int = 64) -> PreTrainedTokenizerFast:
    """As RoBERTa's: byte-level BPE, no unknown token, special tokens <s> and </s>."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend.train_from_iterator(
        corpus(),
        trainers.BpeTrainer(
            vocab_size=600, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
        ),
    )
    ends = [(token, backend.token_to_id(token)) for token in ("<s>", "</s>")]
    backend.post_processor = processors.RobertaProcessing(ends[1], ends[0], trim_offsets=True, add_prefix_space=False)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=model_max_length,
        model_input_names=["input_ids", "attention_mask"],
    )


@cache
def unigram(model_max_length: int = 64) -> PreTrainedTokenizerFast:
    """As XLM-R's: Unigram over a metaspace, special tokens <s> and </s>."""
    backend = Tokenizer(models.Unigram())
    backend.normalizer = normalizers.Sequence([normalizers.NFKC()])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    backend.train_from_iterator(
        corpus(), trainers.UnigramTrainer(vocab_size=300, special_tokens=special, unk_token="<unk>")
    )
    # The trainer adds up and lists its pieces in the order of a hash; rounded and sorted they are always the same.
    scored = {piece: round(score, 2) for piece, score in json.loads(backend.to_str())["model"]["vocab"]}
    pieces = sorted((piece for piece in scored if piece not in special), key=lambda piece: (-scored[piece], piece))
    backend.model = models.Unigram([(piece, scored[piece]) for piece in (*special, *pieces)], unk_id=3)
    backend.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[(token, backend.token_to_id(token)) for token in ("<s>", "</s>")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=model_max_length,
        model_input_names=["input_ids", "attention_mask"],
    )


class CharacterTokenizer(PreTrainedTokenizer):
    """A tokenizer in plain Python, which knows no offsets: a token a character."""

    model_input_names = ["input_ids", "attention_mask"]  # noqa: RUF012 - transformers joins it to lists

    def __init__(self, **options):
        alphabet = sorted(set(" ".join(WORDS)))
        special = ["<pad>", "<unk>", "<s>", "</s>", "<mask>"]
        self._ids = {token: index for index, token in enumerate([*special, *alphabet])}
        self._tokens = {index: token for token, index in self._ids.items()}
        super().__init__(
            pad_token="<pad>",
            unk_token="<unk>",
            cls_token="<s>",
            sep_token="</s>",
            mask_token="<mask>",
            **options,
        )

    @property
    def vocab_size(self):
        return len(self._ids)

    def get_vocab(self):
        return dict(self._ids)

    def _tokenize(self, text, **kwargs):
        return list(text)

    def _convert_token_to_id(self, token):
        return self._ids.get(token, self._ids["<unk>"])

    def _convert_id_to_token(self, index):
        return self._tokens.get(index, "<unk>")

    def convert_tokens_to_string(self, tokens):
        return "".join(tokens)

    def build_inputs_with_special_tokens(self, token_ids_0, token_ids_1=None):
        first = [self.cls_token_id, *token_ids_0, self.sep_token_id]
        return first if token_ids_1 is None else [*first, *token_ids_1, self.sep_token_id]

    def get_special_tokens_mask(self, token_ids_0, token_ids_1=None, already_has_special_tokens=False):
        if already_has_special_tokens:
            return [int(token in self.all_special_ids) for token in token_ids_0]
        first = [1, *[0] * len(token_ids_0), 1]
        return first if token_ids_1 is None else [*first, *[0] * len(token_ids_1), 1]


TOKENIZERS = {"wordpiece": wordpiece, "bytelevel": bytelevel, "unigram": unigram}


def tokenizer_of(family: str, model_max_length: int = 64):
    if family == "characters":
        return CharacterTokenizer(model_max_length=model_max_length)
    return TOKENIZERS[family](model_max_length)


HEADS = {
    "token-classification": BertForTokenClassification,
    "question-answering": BertForQuestionAnswering,
    "text-classification": BertForSequenceClassification,
    "fill-mask": BertForMaskedLM,
    "feature-extraction": BertModel,
    "multiple-choice": BertForMultipleChoice,
    "next-sentence-prediction": BertForNextSentencePrediction,
}


def tiny_model(task: str, tokenizer, *, labels=LABELS, seed: int = 0, spread: float = 8.0, **config):
    """A random BERT of two layers with the head of ``task``, its scores spread wide enough that ties are rare."""
    torch.manual_seed(seed)
    if task == "question-answering":  # one column for starts, one for ends
        labels = ("start", "end")
    settings = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        type_vocab_size=2,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: index for index, label in enumerate(labels)},
        **config,
    )
    return _spread(HEADS[task](settings).eval(), spread)


def tiny_decoder(tokenizer, *, seed: int = 0, spread: float = 6.0):
    """A random GPT-2 of two layers; its start and end tokens are the tokenizer's."""
    torch.manual_seed(seed)
    settings = GPT2Config(
        vocab_size=len(tokenizer),
        n_embd=32,
        n_layer=2,
        n_head=2,
        n_positions=256,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
    )
    return _spread(GPT2LMHeadModel(settings).eval(), spread)


def tiny_seq2seq(tokenizer, *, seed: int = 0, spread: float = 4.0):
    """A random BART of two and two layers."""
    torch.manual_seed(seed)
    settings = BartConfig(
        vocab_size=len(tokenizer),
        d_model=32,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.cls_token_id,
        eos_token_id=tokenizer.sep_token_id,
        decoder_start_token_id=tokenizer.sep_token_id,
        forced_eos_token_id=None,
    )
    return _spread(BartForConditionalGeneration(settings).eval(), spread)


def _spread(model, factor):
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.mul_(factor)
    return model
