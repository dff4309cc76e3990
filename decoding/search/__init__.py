"""The loops: greedy and sampled decoding, beams of every kind, contrastive search, DoLa, stopping, token streams.

A loop drives a step model (``step_model``) and knows no model, cache or tokenizer of its own.
"""
