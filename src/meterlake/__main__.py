"""``python -m meterlake`` is the command ``meterlake``."""

from meterlake.cli import main

main()
