"""How the shipped checkpoint for documents is made: drawn receipts, questions about them, one small model.

In the repository alone, not in the wheel; ``train_media.py`` trains it.
"""
