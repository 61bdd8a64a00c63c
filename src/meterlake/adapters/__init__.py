"""The outside world, one technology a module; chosen in `meterlake.app` alone."""
