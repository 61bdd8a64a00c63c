"""Pages and API of one node, as one ASGI app."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from meterlake.api.app import make_app
from meterlake.web import admin, door, failures, help, static_files  # noqa: A004 - the page's name
from meterlake.web.pages import PAGES
from meterlake.web.proxies import proxies_from
from meterlake.web.security import FORM_BYTES, Guarded
from meterlake.web.shell import templates

if TYPE_CHECKING:
    from fastapi import FastAPI

    from meterlake.api.limits import ApiLimits
    from meterlake.people import Desk
    from meterlake.ports import Keys
    from meterlake.server import Server


def make_web(node: Server, keys: Keys, desk: Desk, limits: ApiLimits | None = None) -> FastAPI:
    """Return the API of ``node``, which was started, with the pages for those who sign in at ``desk``."""
    app = make_app(node, keys, limits, desk)
    for part in (door, admin, help, static_files, *PAGES):
        app.include_router(part.router, max_body_size=FORM_BYTES)
    app.state.proxies = proxies_from(os.environ)
    failures.install(app)
    for name in templates().list_templates():
        templates().get_template(name)  # the first visitor does not wait for it
    app.add_middleware(Guarded, form_s=app.state.served.limits.body_s)
    return app
