"""How the shipped checkpoints for sound are made: words that espeak-ng speaks, tones and noises, two small models.

In the repository alone, not in the wheel; ``train_media.py`` trains them.
"""
