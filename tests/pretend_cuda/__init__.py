"""A CUDA device that is not there: tensors that say they are on cuda:0 and lie in the memory of the host.

They refuse what CUDA refuses, and count what a GPU would have to do and what the host would have to wait for. The tests
of this folder run every mode, sampler configuration and task on it.
"""
