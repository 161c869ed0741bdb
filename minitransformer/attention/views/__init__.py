"""What attention is: other sciences that arrived at the same formula."""
