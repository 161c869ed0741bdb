"""Where a token is: codes added to it, turns of queries and keys, bends of scores."""
