"""From scores to text: how the next token is chosen, and the one after it."""
