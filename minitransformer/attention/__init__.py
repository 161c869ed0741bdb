"""Mixing tokens: what attention computes, and the parts it is put together from."""
