"""Outputs of models that read pictures with text: document spans over word boxes, visual answers, decisions.

Donut's tags to JSON stand here too; no model, tokenizer or picture is opened here.
"""
