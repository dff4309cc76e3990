"""Filters that act on the distribution of the next token alone: temperature, top-k, top-p, min-p, entropy, guidance.

Each is a function ``apply_x(logits, x)`` that returns masked or scaled logits.
"""
