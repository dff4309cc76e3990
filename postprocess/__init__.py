"""Model outputs to answers: whole batches at once. Tensors in, columns out; no tokenizer, model or config."""

if __name__ != "afterlogits.postprocess":
    raise ImportError("import afterlogits.postprocess, not postprocess: a second copy of the package would be loaded")
