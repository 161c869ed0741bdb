"""Whole models, put together from layers."""

from minitransformer.models.pretrained import load_pretrained, save_pretrained

__all__ = ["load_pretrained", "save_pretrained"]
