"""Exact attention in little memory."""
