"""Logits to tokens: filters, penalties, constraints, samplers and generation loops. Tensors in, tensors out."""

if __name__ != "afterlogits.decoding":
    raise ImportError("import afterlogits.decoding, not decoding: a second copy of the package would be loaded")
