"""Tasks on images or sound together with text, each with the call and the result of transformers' pipeline."""
