"""Answers from text models: entities, answer spans, labels, masked tokens, tables, embeddings.

Tensors in, columns for a whole batch out; ``.records()`` gives what transformers' pipelines give.
"""
