"""Text to ids: pre-tokenizers and tokenizers."""
