"""What the draws are made of: the largest logits, a row's mass, the exponential race, noise and torch's own stream.

Internal. Each short way here proves its result or says that it cannot.
"""
