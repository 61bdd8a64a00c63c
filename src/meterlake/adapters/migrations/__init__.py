"""How the tables of a registry came to be as they are, step by step."""
