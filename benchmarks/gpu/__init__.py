"""``make gpu-check``: one run of under ten minutes on a CUDA device, equality first, then times, then tokens a second.

Needs torch with CUDA and transformers, and nothing of this package installed: ``PYTHONPATH=src python -m
afterlogits.benchmarks.gpu``. Results are written as they come; a step that fails is reported and the rest run.
"""
