"""Tiny random models whose image processors, or their postprocessing, need torchvision in transformers 5.23.

As ``vision_models``; call ``torchvision_oracle.load()`` before transformers is imported.
"""

import json
import tempfile
from pathlib import Path

import transformers as hf

from tests.builders import vision_models
from tests.builders.vision_models import SQUARE, _swin, _with, word_tokenizer

CLASSES = 5


def rf_detr(kind="RfDetrForObjectDetection"):
    backbone = {
        "model_type": "rf_detr_dinov2",
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 2,
        "image_size": 56,
        "patch_size": 14,
        "num_windows": 2,
        "out_indices": [1, 2, 3, 4],
    }
    config = hf.RfDetrConfig(
        backbone_config=backbone,
        d_model=32,
        decoder_layers=2,
        decoder_ffn_dim=32,
        decoder_self_attention_heads=4,
        decoder_cross_attention_heads=4,
        num_queries=12,
        group_detr=1,
        num_labels=CLASSES,
        num_feature_levels=1,
        init_std=0.3,
    )
    return _with(getattr(hf, kind)(config), hf.RfDetrImageProcessor(size={"height": 56, "width": 56}))


def rf_detr_instances():
    return rf_detr("RfDetrForInstanceSegmentation")


def sam2():
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 8,
        "num_attention_heads": 1,
        "image_size": [64, 64],
        "blocks_per_stage": [1, 2, 2, 1],
        "embed_dim_per_stage": [8, 16, 32, 64],
        "num_attention_heads_per_stage": [1, 1, 2, 2],
        "window_size_per_stage": [4, 2, 2, 2],
        "global_attention_blocks": [2, 4],
        "window_positional_embedding_background_size": [4, 4],
    }
    vision = hf.Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=16,
    )
    prompt = {"hidden_size": 16, "image_size": 64, "patch_size": 16, "mask_input_channels": 4}
    decoder = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "mlp_dim": 32,
        "iou_head_hidden_dim": 16,
    }
    config = hf.Sam2Config(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    model = hf.Sam2Model(config)
    for weight in model.mask_decoder.parameters():  # see vision_models.sam
        weight.data.mul_(12 if weight.dim() > 1 else 1)
    return _with(model, hf.Sam2ImageProcessor(size=SQUARE, mask_size={"height": 16, "width": 16}))


def oneformer():
    """With a file of class names of its own, as its processor wants one."""
    config = hf.OneFormerConfig(
        backbone_config=_swin(out_features=vision_models.STAGES),
        num_queries=10,
        task_seq_len=12,
        text_encoder_width=16,
        text_encoder_context_length=12,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=64,
        text_encoder_n_ctx=4,
        conv_dim=32,
        mask_dim=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=4,
        dim_feedforward=64,
        query_dec_layers=1,
        init_std=0.3,
        is_training=False,
        num_labels=CLASSES,
    )
    folder = Path(tempfile.mkdtemp())
    names = {str(label): {"isthing": int(label % 2), "name": f"kind {label}"} for label in range(CLASSES)}
    (folder / "classes.json").write_text(json.dumps(names))
    processor = hf.OneFormerImageProcessor(
        size={"shortest_edge": 64, "longest_edge": 96},
        repo_path=str(folder),
        class_info_file="classes.json",
        num_labels=CLASSES,
        num_text=4,
    )
    return _with(hf.OneFormerForUniversalSegmentation(config), processor, tokenizer=word_tokenizer(12))


def register():
    """Let ``vision_models.parts`` build these too."""
    vision_models.BUILDERS.update({build.__name__: build for build in (rf_detr, rf_detr_instances, sam2, oneformer)})
