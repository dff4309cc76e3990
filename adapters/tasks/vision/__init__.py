"""Tasks on images and videos, each with the call and the result of transformers' pipeline of that name."""
