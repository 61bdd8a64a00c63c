"""The accounts of the town: one of each role, and customers of several kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from meterlake.people import Hold, Role
from meterlake.testing.town import PASSWORD
from meterlake.testing.town_registry import CUSTOMERS

if TYPE_CHECKING:
    from meterlake.people import Desk
    from meterlake.testing.town import Town

STAFF: Final = {
    "operator": ("Ola Gorsefield", Role.OPERATOR),
    "analyst": ("Ana Quarryholt", Role.ANALYST),
    "admin": ("Ada Kestrelwick", Role.ADMIN),
}
WHERE: Final = "127.0.0.1"


def settle(made: Town, desk: Desk) -> None:
    """Make the accounts of those who may sign in; each has the password of the town."""
    holds = {
        "customer": (Hold(made.home, None, None),),
        "landlady": tuple(Hold(made.point(which), None, None) for which in ("landlady", "second")),
        "bobby": (Hold(made.point("bobby"), None, None),),
        "newcomer": (Hold(made.point("newcomer"), made.moved_s, None),),
    }
    told = {account.email for account in desk.accounts()}
    for who, held in holds.items():
        name, locale = CUSTOMERS[who]
        if made.email(who) not in told:
            link = desk.invite(made.email(who), Role.CUSTOMER, held, None, name=name, locale=locale)
            desk.use_link(link, PASSWORD, WHERE)
    for who, (name, role) in STAFF.items():
        if made.email(who) not in told:
            link = desk.invite(made.email(who), role, (), None, name=name, locale="en-GB")
            desk.use_link(link, PASSWORD, WHERE)
