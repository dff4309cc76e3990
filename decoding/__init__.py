"""Logits to tokens: filters, penalties, constraints, samplers and generation loops. Tensors in, tensors out."""

if __name__ != "afterlogits.decoding":
    raise ImportError("import afterlogits.decoding, not decoding: a second copy of the package would be loaded")

from .chain import LogitsStep, apply_chain
from .filters import (
    apply_min_p,
    apply_temperature,
    apply_top_k,
    apply_top_k_top_p_jointly,
    apply_top_p,
    top_k_top_p_filtering,
)
from .params import DEFAULT_ORDER, SamplingParams
from .sampling import Sampled, Sampler, sample
from .truncation import (
    apply_dynamic_temperature,
    apply_epsilon,
    apply_eta,
    apply_top_h,
    apply_top_n_sigma,
    apply_typical_p,
    apply_xtc,
)

__all__ = [
    "DEFAULT_ORDER",
    "LogitsStep",
    "Sampled",
    "Sampler",
    "SamplingParams",
    "apply_chain",
    "apply_dynamic_temperature",
    "apply_epsilon",
    "apply_eta",
    "apply_min_p",
    "apply_temperature",
    "apply_top_h",
    "apply_top_k",
    "apply_top_k_top_p_jointly",
    "apply_top_n_sigma",
    "apply_top_p",
    "apply_typical_p",
    "apply_xtc",
    "sample",
    "top_k_top_p_filtering",
]
