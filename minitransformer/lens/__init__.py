"""Reading a trained model: look, never change."""
