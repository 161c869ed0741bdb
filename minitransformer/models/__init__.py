"""Whole models, put together from layers."""
