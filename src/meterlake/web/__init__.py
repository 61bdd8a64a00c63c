"""Pages for people: what `meterlake serve` shows in a browser."""
