"""Answers of vision models: boxes, masks, maps and points from logits, whole batches at once.

Tensors in, columns out; torch and numpy alone, no image library. ``detection`` is the place to begin.
"""

from .boxes import clip_boxes, convert_boxes, pairwise_iou, pairwise_overlap, scale_boxes
from .connected import clean_masks, connected_pieces
from .crops import Crops, crop_boxes, plan_crops, point_grid
from .depth import depth_maps, depth_pictures, inverse_depth_maps, unpadded_depth_maps
from .detection import detect_best_label, detect_every_label, detect_sigmoid, detect_softmax
from .detections import Detections, first_of_each, merge_images
from .fusion import FusedBoxes, fuse, fuse_boxes, merge_tiles, plan_tiles
from .guided import (
    GroundedDetections,
    answered_images,
    detect_grounded,
    detect_image_guided,
    detect_text_classes,
)
from .instances import Instances, instance_maps
from .keypoints import Keypoints, Matches, detect_keypoints, match_both_ways, match_keypoints
from .letterboxed import letterboxed_instance_maps, letterboxed_panoptic_maps
from .maps import MaskStatistics, id_masks, id_statistics, map_ids, mask_statistics
from .mask_generation import (
    MaskCandidates,
    filter_masks,
    generate_masks,
    mask_boxes,
    merge_candidates,
    upscaled_masks,
    without_overlap,
)
from .nms import nms, soft_nms, suppress
from .panoptic import pair_maps, panoptic_maps
from .pose import Poses, decode_poses
from .ranked import ranked_maps
from .run_lengths import RunLengths, encode_masks, join_run_lengths, map_runs, mask_runs, read_run_lengths
from .segments import Segmentation
from .semantic import class_map, class_planes, semantic_maps

__all__ = [
    "Crops",
    "Detections",
    "FusedBoxes",
    "GroundedDetections",
    "Instances",
    "Keypoints",
    "MaskCandidates",
    "MaskStatistics",
    "Matches",
    "Poses",
    "RunLengths",
    "Segmentation",
    "answered_images",
    "class_map",
    "class_planes",
    "clean_masks",
    "clip_boxes",
    "connected_pieces",
    "convert_boxes",
    "crop_boxes",
    "decode_poses",
    "depth_maps",
    "depth_pictures",
    "detect_best_label",
    "detect_every_label",
    "detect_grounded",
    "detect_image_guided",
    "detect_keypoints",
    "detect_sigmoid",
    "detect_softmax",
    "detect_text_classes",
    "encode_masks",
    "filter_masks",
    "first_of_each",
    "fuse",
    "fuse_boxes",
    "generate_masks",
    "id_masks",
    "id_statistics",
    "instance_maps",
    "inverse_depth_maps",
    "join_run_lengths",
    "letterboxed_instance_maps",
    "letterboxed_panoptic_maps",
    "map_ids",
    "map_runs",
    "mask_boxes",
    "mask_runs",
    "mask_statistics",
    "match_both_ways",
    "match_keypoints",
    "merge_candidates",
    "merge_images",
    "merge_tiles",
    "nms",
    "pair_maps",
    "pairwise_iou",
    "pairwise_overlap",
    "panoptic_maps",
    "plan_crops",
    "plan_tiles",
    "point_grid",
    "ranked_maps",
    "read_run_lengths",
    "scale_boxes",
    "semantic_maps",
    "soft_nms",
    "suppress",
    "unpadded_depth_maps",
    "upscaled_masks",
    "without_overlap",
]
