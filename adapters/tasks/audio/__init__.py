"""Tasks on sound, each with the call and the result of transformers' pipeline of that name."""
