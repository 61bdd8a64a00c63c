"""The town with its pages, asked in process."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from meterlake.app import keys_of, open_node, people_of
from meterlake.node_settings import NodeSettings
from meterlake.testing.town import town
from meterlake.web.app import make_web


class Browser:
    """Asks one app as a browser does: keeps cookies, follows nothing."""

    def __init__(self, app, address="192.0.2.7"):
        self.app, self.address, self.cookies = app, address, httpx.Cookies()

    def ask(self, method, path, **options):
        async def go():
            transport = httpx.ASGITransport(self.app, client=(self.address, 4711))
            async with httpx.AsyncClient(
                transport=transport, base_url="http://test", cookies=self.cookies
            ) as client:
                answer = await client.request(method, path, **options)
                self.cookies = client.cookies
                return answer

        return asyncio.run(go())

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def post(self, path, form, **options):
        return self.ask("POST", path, data=form, **options)


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """The town itself."""
    made = town(tmp_path_factory.mktemp("town"))
    assert made.desk.accounts()
    return made


@pytest.fixture(scope="session")
def app(place):
    """Pages and API over the town."""
    node = open_node(str(place.lake), None, NodeSettings(batch=False, grace_s=4 * 86_400))
    node.start()
    desk = people_of(node.lake.registry)
    made = make_web(node, keys_of(node.lake.registry), desk)
    made.state.desk = desk
    yield made
    desk.stop()
    node.stop()


@pytest.fixture
def browser(app):
    """Somebody who is not signed in."""
    return Browser(app)


@pytest.fixture
def signed(app, place):
    """A browser in which a role is signed in."""

    def made(who):
        one = Browser(app)
        one.cookies.set("meterlake_session", place.session(who))
        return one

    return made
