"""Tasks on texts and tables of texts, each with the call and the result of transformers' pipeline of that name."""
