"""From text to weights, and what comes of it."""
