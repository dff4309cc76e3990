"""How the shipped checkpoints are made: corpora, vocabularies, models, training, evaluation, cards.

In the repository alone, not in the wheel: ``python -m afterlogits.adapters.checkpoints.training.train``.
"""
