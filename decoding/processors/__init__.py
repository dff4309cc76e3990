"""What acts on logits and knows the tokens so far: penalties, biases, bans, forced and allowed tokens, lengths.

Each stands as a function of logits and history, and as a step that a loop keeps from token to token.
"""
