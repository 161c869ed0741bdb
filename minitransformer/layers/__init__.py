"""Modules that own weights, around functions that do not."""
