"""Guess several tokens, check them in one forward: draft models and prompt lookup, for whole batches."""
