"""From a request and logits to drawn tokens: ``SamplingParams``, ``sample``, ``Sampler`` and what it walks.

The filters and processors that a request names come from the rooms beside this one.
"""
