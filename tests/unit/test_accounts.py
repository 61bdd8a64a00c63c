"""What an account may consist of."""

from __future__ import annotations

import pytest

from meterlake.accounts import Hold, Role, email_of, holds_of, locale_of, role_of, text_of
from meterlake.errors import Invalid


@pytest.mark.parametrize(
    "holds",
    [[Hold("")], [Hold(" ")], [Hold("a\nb")], [Hold("P", 5, 5)], [Hold("P", 6, 5)], [Hold("x" * 201)]],
)
def test_a_hold_names_a_place_and_a_time(holds):
    with pytest.raises(Invalid):
        holds_of(Role.CUSTOMER, holds)


def test_only_customers_hold():
    for role in Role:
        if role is not Role.CUSTOMER:
            with pytest.raises(Invalid, match="only customers"):
                holds_of(role, [Hold("P")])


def test_holds_that_touch_are_one():
    told = [
        Hold("P", 5, 9),
        Hold("P", None, 3),
        Hold("P", 3, 4),
        Hold("P", 6, 7),
        Hold("P", 9),
        Hold("Q", 3, 4),
    ]
    assert holds_of(Role.CUSTOMER, told) == (Hold("P", None, 4), Hold("P", 5), Hold("Q", 3, 4))


@pytest.mark.parametrize(
    "wrong",
    ["", "a", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\nBcc: c@d", "a,c@b", "x" * 251 + "@b.c"],
)
def test_an_email_is_one_address(wrong):
    with pytest.raises(Invalid):
        email_of(wrong)


def test_names_of_roles_and_languages_are_known_ones():
    assert (role_of("admin"), locale_of(" de_AT ")) == (Role.ADMIN, "de-AT")
    for act in (lambda: role_of("root"), lambda: locale_of("<b>"), lambda: locale_of("en--GB")):
        with pytest.raises(Invalid):
            act()
    with pytest.raises(Invalid, match="name"):
        text_of("name", "a\nb")
