"""The small trained models that ship with the package; ``train.py`` made them."""
