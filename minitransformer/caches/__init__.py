"""What a layer keeps of earlier tokens: one object a layer, handed in and back."""
