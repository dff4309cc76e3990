"""Tiny random vision models with their processors, one function a model; pictures and clips to give them.

Every function returns the parts of a pipeline by name: ``model`` (in eval mode, seeded) and ``image_processor``, and
``tokenizer`` where the task asks with texts. ``parts("yolos")`` keeps what it has built.
"""

from functools import cache

import av
import numpy as np
import torch
import transformers as hf
from PIL import Image

VIT = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "image_size": 32,
    "patch_size": 8,
}
DEEP_VIT = {**VIT, "num_hidden_layers": 4, "image_size": 64, "patch_size": 16}
EDGES = {"shortest_edge": 64, "longest_edge": 96}
SQUARE = {"height": 64, "width": 64}
WORDS = ("a", "photo", "of", "cat", "dog", "this", "is", "red", "square", ".", "This", "What", "It", "big")
STAGES = ["stage1", "stage2", "stage3", "stage4"]


def picture(width=64, height=48, seed=0):
    """Noise over a few flat areas: pictures whose logits differ from place to place."""
    drawn = np.random.default_rng(seed)
    pixels = drawn.integers(0, 90, (height, width, 3))
    for _ in range(3):
        top, left = drawn.integers(0, height), drawn.integers(0, width)
        pixels[top : top + height // 2, left : left + width // 2] += drawn.integers(0, 165, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def write_clip(path, frames=24, width=64, height=48):
    """A moving picture as an MPEG-4 file."""
    pixels = np.asarray(picture(width, height))
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=12)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            for packet in stream.encode(av.VideoFrame.from_ndarray(np.roll(pixels, number, 1), format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return str(path)


@cache
def parts(name):
    """The model and processors of the builder of that name, built once."""
    torch.manual_seed(sum(map(ord, name)))
    built = BUILDERS[name]()
    built["model"].eval()
    return built


def _with(model, image_processor, **others):
    return {"model": model, "image_processor": image_processor, **others}


def word_tokenizer(length=16, token_types=False):
    """Whole words by number, with the marks that CLIP's and BERT's tokenizers set around them."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=length,
        model_input_names=["input_ids", "attention_mask", *(["token_type_ids"] if token_types else [])],
    )


def _swin(**options):
    return hf.SwinConfig(
        image_size=64,
        **{"embed_dim": 16, "out_features": STAGES, **options},
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
    )


def _resnet(stages=("stage2", "stage3", "stage4")):
    return hf.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=list(stages),
    )


def _detr_config(config, **options):
    own_backbone = {"use_timm_backbone": False, "use_pretrained_backbone": False, "backbone": None}
    small = {
        "backbone_config": _resnet(),
        "d_model": 32,
        "encoder_layers": 1,
        "decoder_layers": 2,
        "encoder_ffn_dim": 64,
        "decoder_ffn_dim": 64,
        "encoder_attention_heads": 4,
        "decoder_attention_heads": 4,
        "num_queries": 12,
        "num_labels": 5,
    }
    return config(**{**own_backbone, **small, **options})


def vit():
    model = hf.ViTForImageClassification(hf.ViTConfig(**VIT, num_labels=7))
    return _with(model, hf.ViTImageProcessor(size={"height": 32, "width": 32}))


def convnext():
    model = hf.ConvNextForImageClassification(
        hf.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_labels=3)
    )
    return _with(model, hf.ConvNextImageProcessor(size={"shortest_edge": 384}))


def yolos():
    sizes = {"image_size": [48, 64], "patch_size": 16, "num_detection_tokens": 10, "num_labels": 5}
    model = hf.YolosForObjectDetection(hf.YolosConfig(**{**VIT, **sizes}))
    return _with(model, hf.YolosImageProcessor(size={"shortest_edge": 48, "longest_edge": 64}))


def detr():
    return _with(hf.DetrForObjectDetection(_detr_config(hf.DetrConfig)), hf.DetrImageProcessor(size=EDGES))


def conditional_detr():
    model = hf.ConditionalDetrForObjectDetection(_detr_config(hf.ConditionalDetrConfig))
    return _with(model, hf.ConditionalDetrImageProcessor(size=EDGES))


def deformable_detr():
    config = _detr_config(hf.DeformableDetrConfig, num_feature_levels=3, disable_custom_kernels=True)
    model = hf.DeformableDetrForObjectDetection(config)
    return _with(model, hf.DeformableDetrImageProcessor(size=EDGES))


def table_transformer():
    model = hf.TableTransformerForObjectDetection(_detr_config(hf.TableTransformerConfig))
    return _with(model, hf.DetrImageProcessor(size=EDGES))


def rt_detr():
    backbone = hf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = hf.RTDetrConfig(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[16, 24, 32],
        d_model=32,
        num_queries=20,
        decoder_in_channels=[32, 32, 32],
        decoder_layers=1,
        decoder_attention_heads=4,
        encoder_attention_heads=4,
        decoder_ffn_dim=32,
        encoder_ffn_dim=64,
        num_labels=5,
    )
    return _with(hf.RTDetrForObjectDetection(config), hf.RTDetrImageProcessor(size=SQUARE))


def d_fine():
    backbone = hf.HGNetV2Config(
        stage_in_channels=[8, 8, 16, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[8, 16, 16, 32],
        stage_num_blocks=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 5, 5],
        stage_numb_of_layers=[2, 2, 2, 2],
        stem_channels=[3, 8, 8],
        hidden_sizes=[8, 16, 16, 32],
        depths=[1, 1, 1, 1],
        embedding_size=8,
        out_features=["stage2", "stage3", "stage4"],
    )
    config = hf.DFineConfig(
        backbone_config=backbone,
        encoder_hidden_dim=32,
        encoder_in_channels=[16, 16, 32],
        d_model=32,
        num_queries=20,
        decoder_in_channels=[32, 32, 32],
        decoder_layers=2,
        decoder_attention_heads=4,
        encoder_attention_heads=4,
        decoder_ffn_dim=32,
        encoder_ffn_dim=64,
        num_labels=5,
        decoder_n_points=[2, 2, 2],
    )
    return _with(hf.DFineForObjectDetection(config), hf.RTDetrImageProcessor(size=SQUARE))


def segformer():
    config = hf.SegformerConfig(
        hidden_sizes=[8, 8, 16, 16],
        depths=[1, 1, 1, 1],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        num_labels=6,
        initializer_range=0.2,
    )
    return _with(hf.SegformerForSemanticSegmentation(config), hf.SegformerImageProcessor(size=SQUARE))


def beit():
    config = hf.BeitConfig(**DEEP_VIT, out_indices=[1, 2, 3, 4], num_labels=6, vocab_size=16)
    return _with(hf.BeitForSemanticSegmentation(config), hf.BeitImageProcessor(size=SQUARE, do_center_crop=False))


def upernet():
    config = hf.UperNetConfig(
        backbone_config=_swin(), hidden_size=16, auxiliary_in_channels=64, auxiliary_channels=8, num_labels=6
    )
    return _with(hf.UperNetForSemanticSegmentation(config), hf.SegformerImageProcessor(size=SQUARE))


def mobilevit():
    config = hf.MobileViTConfig(
        image_size=64,
        hidden_sizes=[16, 16, 16],
        neck_hidden_sizes=[8, 8, 16, 16, 16, 16, 32],
        num_attention_heads=2,
        num_labels=6,
    )
    processor = hf.MobileViTImageProcessor(size={"shortest_edge": 64}, crop_size=SQUARE)
    return _with(hf.MobileViTForSemanticSegmentation(config), processor)


def dpt_segmentation():
    config = hf.DPTConfig(
        **DEEP_VIT,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        num_labels=6,
    )
    return _with(hf.DPTForSemanticSegmentation(config), hf.DPTImageProcessor(size=SQUARE))


def maskformer():
    config = hf.MaskFormerConfig(
        fpn_feature_size=32,
        mask_feature_size=32,
        backbone_config=_swin(),
        decoder_config=_detr_config(hf.DetrConfig),
        num_labels=5,
    )
    return _with(hf.MaskFormerForInstanceSegmentation(config), hf.MaskFormerImageProcessor(size=EDGES))


def mask2former():
    config = hf.Mask2FormerConfig(
        backbone_config=_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=64,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=4,
        dim_feedforward=64,
        num_queries=10,
        num_labels=5,
    )
    return _with(hf.Mask2FormerForUniversalSegmentation(config), hf.Mask2FormerImageProcessor(size=EDGES))


def detr_segmentation():
    config = _detr_config(
        hf.DetrConfig,
        backbone_config=_resnet(STAGES),
        d_model=64,
        decoder_layers=1,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
    )
    return _with(hf.DetrForSegmentation(config), hf.DetrImageProcessor(size=EDGES))


def eomt(edge=64):
    config = hf.EomtConfig(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=edge,
        patch_size=16,
        num_blocks=2,
        num_queries=10,
        num_upscale_blocks=1,
        num_labels=5,
        mlp_ratio=2,
    )
    processor = hf.EomtImageProcessor(size={"shortest_edge": edge, "longest_edge": edge}, do_pad=True)
    return _with(hf.EomtForUniversalSegmentation(config), processor)


def _two_towers(text_length=16):
    text = {
        "vocab_size": 32,
        "hidden_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "max_position_embeddings": text_length,
        "bos_token_id": 2,
        "eos_token_id": 3,
        "pad_token_id": 0,
    }
    return {"text_config": text, "vision_config": dict(VIT)}


def clip():
    model = hf.CLIPModel(hf.CLIPConfig(**_two_towers(), projection_dim=32))
    size = {"height": 32, "width": 32}
    processor = hf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=size)
    return _with(model, processor, tokenizer=word_tokenizer())


def siglip():
    model = hf.SiglipModel(hf.SiglipConfig(**_two_towers(64)))
    processor = hf.SiglipImageProcessor(size={"height": 32, "width": 32})
    return _with(model, processor, tokenizer=word_tokenizer(64))


def owlvit():
    model = hf.OwlViTForObjectDetection(hf.OwlViTConfig(**_two_towers(), projection_dim=32))
    size = {"height": 32, "width": 32}
    return _with(model, hf.OwlViTImageProcessor(size=size, crop_size=size), tokenizer=word_tokenizer())


def owlv2():
    model = hf.Owlv2ForObjectDetection(hf.Owlv2Config(**_two_towers(), projection_dim=32))
    return _with(model, hf.Owlv2ImageProcessor(size={"height": 32, "width": 32}), tokenizer=word_tokenizer())


def grounding_dino():
    text = hf.BertConfig(
        vocab_size=2000,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    config = hf.GroundingDinoConfig(
        backbone_config=_swin(embed_dim=8, out_features=STAGES[1:]),
        text_config=text,
        backbone=None,
        use_pretrained_backbone=False,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=64,
        decoder_ffn_dim=64,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        num_queries=12,
        num_feature_levels=4,
        disable_custom_kernels=True,
        max_text_len=16,
    )
    model = hf.GroundingDinoForObjectDetection(config)
    # Of smaller pictures the coarsest level is one pixel, which group normalisation refuses.
    size = {"shortest_edge": 128, "longest_edge": 192}
    return _with(model, hf.GroundingDinoImageProcessor(size=size), tokenizer=word_tokenizer(token_types=True))


def dpt_depth():
    config = hf.DPTConfig(
        **DEEP_VIT, backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16
    )
    return _with(hf.DPTForDepthEstimation(config), hf.DPTImageProcessor(size=SQUARE))


def glpn():
    config = hf.GLPNConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], num_attention_heads=[1, 1, 2, 2], decoder_hidden_size=16
    )
    return _with(hf.GLPNForDepthEstimation(config), hf.GLPNImageProcessor())


def depth_anything():
    backbone = hf.Dinov2Config(
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=2,
        image_size=56,
        patch_size=14,
        out_features=STAGES,
        apply_layernorm=True,
        reshape_hidden_states=False,
    )
    config = hf.DepthAnythingConfig(
        backbone_config=backbone,
        patch_size=14,
        reassemble_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        head_hidden_size=8,
    )
    size = {"height": 56, "width": 56}
    processor = hf.DPTImageProcessor(size=size, ensure_multiple_of=14, keep_aspect_ratio=True)
    return _with(hf.DepthAnythingForDepthEstimation(config), processor)


def zoedepth():
    backbone = hf.BeitConfig(**DEEP_VIT, out_features=STAGES, reshape_hidden_states=False, vocab_size=16)
    config = hf.ZoeDepthConfig(
        backbone_config=backbone,
        backbone_hidden_size=32,
        neck_hidden_sizes=[8, 8, 16, 16],
        fusion_hidden_size=16,
        bottleneck_features=16,
        num_relative_features=16,
        bin_configurations=[{"n_bins": 8, "min_depth": 0.001, "max_depth": 10.0, "name": "nyu"}],
        num_attractors=[4, 2, 2, 1],
        bin_embedding_dim=16,
    )
    return _with(hf.ZoeDepthForDepthEstimation(config), hf.ZoeDepthImageProcessor(size=SQUARE, ensure_multiple_of=32))


def sam():
    vision = {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": 64,
        "patch_size": 8,
        "output_channels": 16,
        "num_pos_feats": 8,
        "window_size": 4,
        "global_attn_indexes": [1],
        "mlp_dim": 64,
    }
    prompt = {
        "hidden_size": 16,
        "image_size": 64,
        "patch_size": 8,
        "mask_input_channels": 4,
        "num_point_embeddings": 4,
    }
    decoder = {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "mlp_dim": 32,
        "iou_head_hidden_dim": 16,
    }
    config = hf.SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)
    processor = hf.SamImageProcessor(
        size={"longest_edge": 64},
        pad_size=SQUARE,
        mask_size={"longest_edge": 16},
        mask_pad_size={"height": 16, "width": 16},
    )
    model = hf.SamModel(config)
    # Drawn as usual, weights of this size give masks of nothing but zeros.
    for weight in model.mask_decoder.parameters():
        weight.data.mul_(12 if weight.dim() > 1 else 1)
    return _with(model, processor)


def vitpose():
    backbone = hf.VitPoseBackboneConfig(
        image_size=[64, 48],
        patch_size=[16, 16],
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        part_features=8,
        num_experts=1,
        out_indices=[2],
    )
    config = hf.VitPoseConfig(backbone_config=backbone, num_labels=17, scale_factor=4, use_simple_decoder=True)
    return _with(hf.VitPoseForPoseEstimation(config), hf.VitPoseImageProcessor(size={"height": 64, "width": 48}))


def _superpoint():
    return hf.SuperPointConfig(
        encoder_hidden_sizes=[8, 8, 16, 16],
        decoder_hidden_size=16,
        keypoint_decoder_dim=65,
        descriptor_decoder_dim=16,
        max_keypoints=32,
        keypoint_threshold=0.0,
        initializer_range=0.3,
    )


def superpoint():
    processor = hf.SuperPointImageProcessor(size={"height": 48, "width": 64})
    return _with(hf.SuperPointForKeypointDetection(_superpoint()), processor)


def superglue():
    config = hf.SuperGlueConfig(
        keypoint_detector_config=_superpoint(),
        hidden_size=16,
        keypoint_encoder_sizes=[8, 16],
        gnn_layers_types=["self", "cross"],
        num_attention_heads=2,
        sinkhorn_iterations=5,
        matching_threshold=0.0,
    )
    processor = hf.SuperGlueImageProcessor(size={"height": 48, "width": 64})
    return _with(hf.SuperGlueForKeypointMatching(config), processor)


def lightglue():
    config = hf.LightGlueConfig(
        keypoint_detector_config=_superpoint(),
        descriptor_dim=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        filter_threshold=0.0,
    )
    processor = hf.LightGlueImageProcessor(size={"height": 48, "width": 64})
    return _with(hf.LightGlueForKeypointMatching(config), processor)


def efficientloftr():
    config = hf.EfficientLoFTRConfig(
        stage_num_blocks=[1, 1, 1, 1],
        out_features=[8, 8, 16, 32],
        stage_stride=[2, 1, 2, 2],
        hidden_size=32,
        activation_function="relu",
        num_attention_layers=1,
        num_attention_heads=8,
        coarse_matching_threshold=0.0,
        coarse_matching_border_removal=0,
        fine_matching_slice_dim=4,
    )
    return _with(hf.EfficientLoFTRForKeypointMatching(config), hf.EfficientLoFTRImageProcessor(size=SQUARE))


def swin2sr():
    config = hf.Swin2SRConfig(image_size=16, embed_dim=8, depths=[1, 1], num_heads=[2, 2], window_size=4, upscale=2)
    return _with(hf.Swin2SRForImageSuperResolution(config), hf.Swin2SRImageProcessor())


def vit_features():
    return _with(hf.ViTModel(hf.ViTConfig(**VIT)), hf.ViTImageProcessor(size={"height": 32, "width": 32}))


def vit_masked():
    model = hf.ViTForMaskedImageModeling(hf.ViTConfig(**VIT, encoder_stride=8))
    return _with(model, hf.ViTImageProcessor(size={"height": 32, "width": 32}))


def _video_processor():
    return hf.VideoMAEImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def videomae():
    model = hf.VideoMAEForVideoClassification(hf.VideoMAEConfig(**VIT, num_frames=4, tubelet_size=2, num_labels=4))
    return _with(model, _video_processor())


def timesformer():
    model = hf.TimesformerForVideoClassification(hf.TimesformerConfig(**VIT, num_frames=4, num_labels=4))
    return _with(model, _video_processor())


BUILDERS = {
    build.__name__: build
    for build in (
        vit,
        convnext,
        yolos,
        detr,
        conditional_detr,
        deformable_detr,
        table_transformer,
        rt_detr,
        d_fine,
        segformer,
        beit,
        upernet,
        mobilevit,
        dpt_segmentation,
        maskformer,
        mask2former,
        detr_segmentation,
        eomt,
        clip,
        siglip,
        owlvit,
        owlv2,
        grounding_dino,
        dpt_depth,
        glpn,
        depth_anything,
        zoedepth,
        sam,
        vitpose,
        superpoint,
        superglue,
        lightglue,
        efficientloftr,
        swin2sr,
        vit_features,
        vit_masked,
        videomae,
        timesformer,
    )
}
