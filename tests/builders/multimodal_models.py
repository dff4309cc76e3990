"""Tiny random models of documents, pictures with questions, captions and chats, with their processors, built on the
spot."""

import json
from copy import deepcopy
from functools import cache
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from tokenizers import AddedToken, processors
from transformers import (
    BlipConfig,
    BlipForConditionalGeneration,
    BlipForQuestionAnswering,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    DonutImageProcessor,
    DonutSwinConfig,
    LayoutLMConfig,
    LayoutLMForQuestionAnswering,
    LayoutLMv3Config,
    LayoutLMv3ForQuestionAnswering,
    LayoutLMv3ImageProcessor,
    LlamaConfig,
    LlamaForCausalLM,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    MBartConfig,
    PreTrainedTokenizerBase,
    ViltConfig,
    ViltForQuestionAnswering,
    ViltImageProcessor,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
)

from tests.builders.text_models import bytelevel, wordpiece

WordBoxes = list[tuple[str, list[int]]]
WORDS = ("the", "of", "and", "Paris", "Berlin", "London", "Maria", "Ada", "Acme", "unbelievable", "Montréal", "3.14")
CHAT = (
    "{% for message in messages %}{{ message['role'] }}: "
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)


def picture(width: int = 40, height: int = 30, seed: int = 0) -> Image.Image:
    drawn = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(drawn)


def word_boxes(count: int, seed: int = 0) -> WordBoxes:
    """Words in rows across a page of 1000 by 1000."""
    drawn = np.random.default_rng(seed)
    boxes: WordBoxes = []
    for place in range(count):
        left, top = 90 * (place % 10) + 20, 30 * (place // 10) + 20
        boxes.append((str(drawn.choice(WORDS)), [left, min(top, 960), left + 80, min(top, 960) + 20]))
    return boxes


@cache
def layoutlm(seed: int = 0) -> tuple[Any, PreTrainedTokenizerBase]:
    torch.manual_seed(seed)
    tokenizer = wordpiece(model_max_length=64)
    config = LayoutLMConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        max_2d_position_embeddings=1024,
        initializer_range=0.5,
    )
    return LayoutLMForQuestionAnswering(config).eval(), tokenizer


@cache
def layoutlmv3() -> tuple[Any, PreTrainedTokenizerBase, LayoutLMv3ImageProcessor]:
    """Words with boxes and, if it is given one, a picture (which the pipeline of 5.23 never passes on); that of 4.57.6
    fails on the family."""
    torch.manual_seed(0)
    words = bytelevel(model_max_length=64)
    merges = [tuple(pair) for pair in json.loads(words.backend_tokenizer.to_str())["model"]["merges"]]
    tokenizer = transformers.LayoutLMv3Tokenizer(
        vocab=words.get_vocab(), merges=merges, model_max_length=64, add_prefix_space=True
    )
    config = LayoutLMv3Config(
        vocab_size=len(tokenizer),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        coordinate_size=4,
        shape_size=4,
        max_position_embeddings=80,
        max_2d_position_embeddings=1024,
        input_size=32,
        patch_size=16,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.5,
    )
    processor = LayoutLMv3ImageProcessor(apply_ocr=False, size={"height": 32, "width": 32})
    return LayoutLMv3ForQuestionAnswering(config).eval(), tokenizer, processor


@cache
def donut(seed: int = 0) -> tuple[Any, PreTrainedTokenizerBase, DonutImageProcessor]:
    """An encoder of pages and a decoder that writes tags."""
    torch.manual_seed(seed)
    tokenizer = deepcopy(bytelevel(model_max_length=512))
    tags = ["<s_docvqa>", "<s_question>", "</s_question>", "<s_answer>", "</s_answer>", "<sep/>"]
    tokenizer.add_tokens([AddedToken(tag, special=False) for tag in tags])
    encoder = DonutSwinConfig(
        image_size=[64, 64],
        patch_size=4,
        embed_dim=8,
        depths=[1, 1],
        num_heads=[1, 2],
        window_size=4,
    )
    decoder = MBartConfig(
        vocab_size=len(tokenizer),
        d_model=16,
        decoder_layers=1,
        decoder_attention_heads=2,
        decoder_ffn_dim=32,
        max_position_embeddings=400,
        is_decoder=True,
        add_cross_attention=True,
        init_std=0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.pad_token_id = tokenizer.pad_token_id
    config.decoder_start_token_id = tokenizer.bos_token_id
    config.eos_token_id = tokenizer.eos_token_id
    model = VisionEncoderDecoderModel(config=config).eval()
    settings = model.generation_config
    settings.pad_token_id, settings.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    settings.decoder_start_token_id = tokenizer.bos_token_id
    image_processor = DonutImageProcessor(size={"height": 64, "width": 64}, do_align_long_axis=False)
    return model, tokenizer, image_processor


@cache
def vilt(labels: int = 40) -> tuple[Any, PreTrainedTokenizerBase, ViltImageProcessor]:
    """Questions about pictures, answered by a head over fixed answers."""
    torch.manual_seed(0)
    tokenizer = wordpiece(model_max_length=40)
    config = ViltConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
        image_size=32,
        patch_size=16,
        max_image_length=-1,
        num_labels=labels,
        initializer_range=0.5,
    )
    processor = ViltImageProcessor(size={"shortest_edge": 32}, size_divisor=16)
    return ViltForQuestionAnswering(config).eval(), tokenizer, processor


@cache
def _blip_tokenizer() -> PreTrainedTokenizerBase:
    tokenizer = deepcopy(wordpiece(model_max_length=40))
    tokenizer.model_input_names = ["input_ids", "attention_mask"]
    return tokenizer


def _blip(kind: type[Any]) -> tuple[Any, PreTrainedTokenizerBase, BlipImageProcessor]:
    torch.manual_seed(0)
    tokenizer = _blip_tokenizer()
    ids = {
        "pad_token_id": tokenizer.pad_token_id,
        "bos_token_id": tokenizer.cls_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "sep_token_id": tokenizer.sep_token_id,
    }
    config = BlipConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": 16,
            "encoder_hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "projection_dim": 16,
            "max_position_embeddings": 300,
            "initializer_range": 0.5,
            **ids,
        },
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "image_size": 32,
            "patch_size": 16,
            "initializer_range": 0.5,
        },
        projection_dim=16,
        image_text_hidden_size=16,
    )
    return kind(config).eval(), tokenizer, BlipImageProcessor(size={"height": 32, "width": 32})


@cache
def blip_questions() -> tuple[Any, PreTrainedTokenizerBase, BlipImageProcessor]:
    return _blip(BlipForQuestionAnswering)


@cache
def blip_captions() -> tuple[Any, PreTrainedTokenizerBase, BlipImageProcessor]:
    return _blip(BlipForConditionalGeneration)


def blip_processor() -> BlipProcessor:
    _, tokenizer, image_processor = blip_captions()
    return BlipProcessor(image_processor, tokenizer)


@cache
def llava() -> tuple[Any, LlavaProcessor]:
    """Chats with pictures: a CLIP encoder before a Llama."""
    torch.manual_seed(0)
    tokenizer = deepcopy(bytelevel(model_max_length=512))
    tokenizer.add_special_tokens({"additional_special_tokens" if not _five() else "extra_special_tokens": ["<image>"]})
    # No end token after a prompt.
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=28,
        patch_size=14,
        projection_dim=16,
    )
    config = LlavaConfig(
        vision_config=vision,
        text_config=_llama_config(len(tokenizer), tokenizer),
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=4,
    )
    model = LlavaForConditionalGeneration(config).eval()
    settings = model.generation_config
    settings.pad_token_id, settings.eos_token_id = tokenizer.pad_token_id, tokenizer.eos_token_id
    image_processor = CLIPImageProcessor(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    processor = LlavaProcessor(
        image_processor,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT,
    )
    return model, processor


def _five() -> bool:
    return transformers.__version__.startswith("5")


def _llama_config(size: int, tokenizer: PreTrainedTokenizerBase) -> LlamaConfig:
    return LlamaConfig(
        vocab_size=size,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=1024,
        initializer_range=0.5,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )


@cache
def decider() -> tuple[Any, PreTrainedTokenizerBase]:
    """A chat model whose vocabulary has Yes, No and the capital letters as single tokens."""
    torch.manual_seed(0)
    tokenizer = deepcopy(bytelevel(model_max_length=2048))
    tokenizer.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.add_tokens([AddedToken(label, normalized=False) for label in ("Yes", "No")])
    tokenizer.chat_template = CHAT
    return LlamaForCausalLM(_llama_config(len(tokenizer), tokenizer)).eval(), tokenizer
