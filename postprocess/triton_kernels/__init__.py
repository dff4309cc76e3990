"""Triton kernels for pictures on a CUDA device, each beside its torch twin: a few lines that say what the kernel does.

Optional, as those of ``decoding``: without triton these modules still import, and torch's operations run. A kernel is
written only where torch would read its data more than twice.
"""
