"""Triton kernels: the twins of functions elsewhere, under the same names."""
