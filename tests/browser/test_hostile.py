"""Names that are HTML, scripts, very long, written from right to left, or pictures: each page shows them as they are."""

from __future__ import annotations

import csv
import json
import re
import time
from urllib.parse import quote

import httpx
import pytest

from meterlake.app import keys_of, open_lake, people_of
from meterlake.keys import make, quality_of, scopes_of
from meterlake.moments import text_of
from meterlake.people import Hold, Role
from meterlake.registry_folder import import_folder
from meterlake.testing.browsing import DESK, PHONE
from meterlake.testing.serving import Server
from meterlake.testing.town import PASSWORD

WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
NAMES = {
    "html": "<img src=x onerror=alert(1)><b>bold</b>",
    "attribute": "\"><script>alert('x')</script>",
    "quotes": "'-alert(1)-'`${alert(1)}`{{7*7}}{%x%}",
    "json": "</script><script>alert(1)//&amp;&#60;",
    "long": "W" * 120,
    "right": "مستهلك الطاقة العاشر",
    "emoji": "🏠 e\u0301\u0301\u0301 🇬🇧",
}
"""Each is the name of a customer, and part of the id of a service point and of a meter."""
FAMILY = "👩\u200d👩\u200d👧\u200d👦 می\u200cخواهم"
INJECTED = "() => document.querySelectorAll('main img, main b, script:not([src]):not([type=\"application/json\"])').length"


def write(path, columns, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        told = csv.writer(file)
        told.writerow(columns)
        told.writerows(rows)


@pytest.fixture(scope="module")
def hostile(chromium, tmp_path_factory):
    """A server whose every name means harm: its address, and sessions by who."""
    folder = tmp_path_factory.mktemp("hostile")
    now = int(time.time()) // 60 * 60
    sheets = folder / "registry"
    sheets.mkdir()
    begin = text_of(now - 90 * 86_400, "UTC")
    write(sheets / "customers.csv", ("customer_id", "name", "email", "locale"), [
        (f"C {name}", name, f"{kind}@example.com", "en-GB") for kind, name in NAMES.items()])  # fmt: skip
    write(sheets / "service_points.csv", ("service_point_id", "customer_id", "from", "to", "latitude", "longitude", "class", "zone", "tariff", "feeder", "transformer"), [
        (f"S {name}", f"C {name}", begin, "", 51.5, -0.1, "residential", "Europe/London", name, name, name) for name in NAMES.values()])  # fmt: skip
    write(sheets / "meters.csv", ("meter_id", "service_point_id", "from", "to", "channels", "interval_s", "multiplier"), [
        (f"M {name}", f"S {name}", begin, "", "electricity.import", 60, 1) for name in NAMES.values()])  # fmt: skip
    lake = open_lake(str(folder / "lake"))
    import_folder(lake.registry, sheets)
    file = folder / "<b>'مقر' {{7*7}} 🏠.csv"
    lines = [
        (f"M {name}", "electricity.import", text_of(now - 86_400, "UTC"), 60, "0.01", "kWh")
        for name in NAMES.values()
    ]
    lines += [(f"M {name}", name, name, 60, name, name) for name in NAMES.values()]
    write(file, ("meter", "channel", "start", "seconds", "value", "unit"), lines)
    lake.load(file)
    text, stored = make(
        NAMES["html"],
        scopes_of("ingest"),
        source=NAMES["attribute"],
        meters=None,
        best_quality=quality_of("actual"),
    )
    keys_of(lake.registry).create(stored)
    desk = people_of(lake.registry)
    for kind, name in NAMES.items():
        link = desk.invite(
            f"{kind}@example.com", Role.CUSTOMER, [Hold(f"S {name}")], None, name=f"{name} {FAMILY}"
        )
        desk.use_link(link, PASSWORD, "here")
    for role in (Role.OPERATOR, Role.ADMIN, Role.ANALYST):
        email = f"o'neil&{role}=%3cb%3e@example.com"
        desk.use_link(desk.invite(email, role, (), None, name=NAMES["long"]), PASSWORD, "here")
    with Server(folder / "lake") as server:
        head = {"Authorization": f"Bearer {text}"}
        readings = [{"meter": f"M {name}", "channel": "electricity.import", "start": text_of(now - 60 * n, "UTC"), "seconds": 60, "value": "0.02", "unit": "kWh"}
                    for name in NAMES.values() for n in range(1, 5)]  # fmt: skip
        bad = [one | {"channel": one["meter"][2:], "unit": one["meter"][2:]} for one in readings[::4]]
        assert httpx.post(f"{server.url}/v1/readings", json=readings + bad, headers=head).status_code < 300
        sessions = {kind: desk.sign_in(f"{kind}@example.com", PASSWORD, "here") for kind in NAMES}
        sessions["admin"] = desk.sign_in("o'neil&admin=%3cb%3e@example.com", PASSWORD, "here")
        account = desk.named("html@example.com").id
        desk.stop()
        yield server.url, sessions, account, lake.loads()[0]["load_id"]


def look(browsing, url, session, paths):
    """What goes wrong on pages, by path; and the text of them all."""
    visit = browsing.visit(url, session)
    wrong, said = {}, ""
    visit.page.on("dialog", lambda dialog: (wrong.setdefault("dialog", dialog.message), dialog.dismiss()))
    for path in paths:
        page = visit.go(path)
        for size in (DESK, PHONE):
            page.set_viewport_size({"width": size[0], "height": size[1]})
            visit.settle()
            if wide := page.evaluate(WIDE):
                wrong[f"{path} at {size[0]}"] = f"{wide} pixels too wide"
        if found := page.evaluate(INJECTED):
            wrong[path] = f"{found} elements came in by a name"
        said += page.locator("body").inner_text() + "\n".join(
            page.locator("input").evaluate_all("all => all.map(one => one.value)")
        )
    wrong |= {"said": visit.faults} if visit.faults else {}
    visit.close()
    return wrong, said


def shown(text, name):
    return re.sub(r"\s+", " ", name) in re.sub(r"\s+", " ", text)


@pytest.mark.parametrize("kind", NAMES)
def test_a_customer_with_such_a_name_sees_their_home(hostile, browsing, kind):
    url, sessions, _, _ = hostile
    wrong, said = look(browsing, url, sessions[kind], ["/home", "/account"])
    assert wrong == {}, json.dumps(wrong, indent=1)
    assert shown(said, NAMES[kind])
    assert shown(said, f"S {NAMES[kind]}")


def test_the_operators_and_admins_pages_show_such_names_as_text(hostile, browsing):
    url, sessions, account, load = hostile
    one = [
        f"{path}{quote(name, safe='')}"
        for name in NAMES.values()
        for path in ("/fleet/meter?id=M%20", "/fleet/point?id=S%20")
    ]
    lists = ["/fleet", "/fleet/map", "/fleet/silent?min_s=0", "/fleet/search?q=M", "/fleet/search?q=S", f"/fleet/search?q={quote(NAMES['html'])}",
             "/fleet/loads", f"/fleet/load?id={load}", "/fleet/batches", "/fleet/runs", "/fleet/quarantine", "/analysis", "/admin/users",
             f"/admin/users/{account}", "/admin/audit"]  # fmt: skip
    wrong, said = look(browsing, url, sessions["admin"], [*lists, *one])
    assert wrong == {}, json.dumps(wrong, indent=1)
    for name in NAMES.values():
        assert shown(said, f"M {name}")
        assert shown(said, f"S {name}")
