"""What a server process does: all of it, or a part beside other processes that do the rest."""

from __future__ import annotations

from typing import Final

from meterlake.errors import Invalid

ROLES: Final = ("ingest", "live", "seal", "web", "batch")
"""Take batches in; hold open blocks; take them to the lake; answer questions and show pages; compute the nights."""

ALL: Final = frozenset(ROLES)


def roles_of(text: str) -> frozenset[str]:
    """Read ``all`` or some roles with commas between; Invalid names the one that there is not."""
    if text == "all":
        return ALL
    told = [word.strip() for word in text.split(",")]
    for word in told:
        if word not in ROLES:
            raise Invalid(f"--role {word or text}: there are all, or some of {', '.join(ROLES)}")
    return frozenset(told)
