"""Triton kernels for logits on a CUDA device, each beside its torch twin: a few lines that say what the kernel does.

Optional: without triton these modules still import and the twins run; ``dispatch`` says where the kernels do. A kernel
reads float32, bfloat16 and float16 logits as they are, takes options as tensors [B], and gives a row the same result
whatever else is in the batch.
"""
