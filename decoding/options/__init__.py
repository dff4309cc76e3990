"""What a caller may pass, read once: one value for a batch or one per row, lists of token ids, compiled options.

Nothing here knows logits; everything else in ``decoding`` checks its arguments with it.
"""
