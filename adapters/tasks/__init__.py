"""The tasks of ``pipeline``: one file each, in a folder for each kind of input, and the table of all of them."""
