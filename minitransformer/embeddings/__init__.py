"""Ids to vectors: word2vec, and the optimizer that tunes it."""
