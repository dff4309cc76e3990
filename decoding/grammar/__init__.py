"""Grammars: which tokens may come next in each row, as packed bits, and those bits on the logits.

A grammar itself is a matcher of another library, handed in by the adapters; here are its masks, its thread and its
rows: ``bitmask`` applies, ``grammar_step`` keeps a matcher a row through drawing, beams and speculation.
"""
