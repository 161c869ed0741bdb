"""Attention without a softmax, in time linear in the length."""
