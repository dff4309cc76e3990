"""How the shipped vision checkpoints are made: drawn scenes, six small models, training, evaluation, cards.

In the repository alone, not in the wheel: ``python -m afterlogits.adapters.checkpoints.training.pictures.train``.
"""
