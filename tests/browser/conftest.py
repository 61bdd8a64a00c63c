"""One town, one server and one browser for all tests here, which run in the browser's own thread.

Playwright leaves an event loop running in the thread that uses it; in that of pytest it would be in the way of others.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from meterlake.testing.browsing import REMEDY, Browsing, Visit, find_chromium
from meterlake.testing.serving import Server
from meterlake.testing.town import Town, town

THREAD = ThreadPoolExecutor(1, "browser")


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "browser":
            item.add_marker(pytest.mark.xdist_group("browser"))
            item.add_marker(pytest.mark.timeout(120))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    told = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}
    THREAD.submit(pyfuncitem.obj, **told).result()
    return True


@dataclass
class World:
    """What the tests ask and look at."""

    town: Town
    server: Server
    sessions: dict[str, str] = field(default_factory=dict)

    def session(self, who: str) -> str:
        """Sign in once for all tests."""
        if who not in self.sessions:
            self.sessions[who] = self.town.session(who)
        return self.sessions[who]

    @property
    def url(self) -> str:
        return self.server.url


@pytest.fixture(scope="session")
def chromium() -> str:
    found = find_chromium()
    if found is None:
        pytest.skip(REMEDY)
    return found


@pytest.fixture(scope="session")
def world(chromium, tmp_path_factory):
    made = town(tmp_path_factory.mktemp("town"))
    made.desk  # noqa: B018 - makes the accounts
    made.desk.stop()
    with Server(made.lake) as server:
        made.catch_up(server.url)
        yield World(made, server)


@pytest.fixture(scope="session")
def browsing(chromium):
    browsing = Browsing(chromium)
    THREAD.submit(browsing.__enter__).result()
    yield browsing
    THREAD.submit(browsing.__exit__).result()


@pytest.fixture
def visit(world, browsing):
    """Open pages as somebody; at the end nothing may have gone wrong on them."""
    opened: list[Visit] = []

    def make(who: str | None = None, **told) -> Visit:
        session = None if who is None else world.session(who)
        made = browsing.visit(world.url, session, **told)
        opened.append(made)
        return made

    yield make
    for one in opened:
        THREAD.submit(one.close).result()
    assert [fault for one in opened for fault in one.faults] == []
