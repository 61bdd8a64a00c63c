"""A page whose server has gone quiet says so, and says when it is back."""

from __future__ import annotations

import os
import signal

import pytest

FROZEN_MS = 40_000


@pytest.mark.parametrize(("who", "path"), [("customer", "/home"), ("operator", "/fleet")])
def test_a_page_says_that_what_it_shows_is_old_while_the_server_is_frozen(world, visit, who, path):
    opened = visit(who)
    page = opened.go(path)
    stale = page.locator("#old")
    assert not stale.is_visible()
    os.kill(world.server.process.pid, signal.SIGSTOP)
    try:
        stale.wait_for(state="visible", timeout=FROZEN_MS)
        assert stale.inner_text().strip(), "colour alone says nothing"
    finally:
        os.kill(world.server.process.pid, signal.SIGCONT)
    stale.wait_for(state="hidden", timeout=FROZEN_MS)
    opened.faults.clear()  # requests that were given up are errors to the browser
