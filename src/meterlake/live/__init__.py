"""The live side: open blocks in memory, what is derived from them, and how they reach the lake."""
