"""Somebody who means no good, signed in or not: what they send, how they ask, and what they learn of it."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import quote

import pytest

from meterlake.api.ids import Named
from meterlake.api.limits import ApiLimits
from meterlake.people import Hold, Role
from meterlake.testing.town import PASSWORD
from meterlake.web.app import make_web
from meterlake.web.security import FORM_BYTES

from .conftest import Browser
from .test_door import sign_in, token
from .test_rights import every_route

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_a_form_of_a_page_that_hides_where_it_is_is_refused(browser, place):
    form = {"email": place.email("customer"), "password": PASSWORD, "csrf": token(browser.get("/sign-in"))}
    assert browser.post("/sign-in", form, headers={"Origin": "null"}).status_code == 403


@pytest.mark.parametrize("path", ["/sign-in", "/link/none", "/account/password", "/admin/users"])
def test_a_body_without_end_is_not_read(browser, path):
    sent = 0

    async def endless():
        nonlocal sent
        yield b"email="
        while sent < 100 * FORM_BYTES:
            sent += 65_536
            yield b"a" * 65_536

    answer = browser.ask("POST", path, content=endless(), headers=FORM)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert sent <= 2 * FORM_BYTES


def test_who_sends_a_form_without_end_is_not_waited_for(app, place):
    served = app.state.served
    made = make_web(served.node, served.ring._keys, served.desk, ApiLimits(body_s=0.05))

    async def never():
        yield b"email="
        await asyncio.Event().wait()

    answer = Browser(made).ask("POST", "/sign-in", content=never(), headers=FORM)
    assert answer.status_code == 408
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    "kind",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json", "", "x/y"],
)
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"csrf=%ED%A0%80&email=%00&password=%FF",
        b"csrf[]=1&csrf=2&csrf=3",
        b"{}",
        b"--x\r\n\r\n",
        b"\xff" * 100,
    ],
)
def test_no_body_makes_the_door_fail(browser, kind, body):
    browser.get("/sign-in")
    for path in ("/sign-in", "/sign-out", "/link/none", "/account/locale", "/admin/users"):
        answer = browser.ask("POST", path, content=body, headers={"Content-Type": kind} if kind else {})
        assert answer.status_code in {303, 400, 401, 403, 404, 422}, (path, answer.status_code)


NASTY = ("%00", "a%00b", "%E2%80%AE", "%ED%A0%80", "<script>", "..%2F..%2Fetc", "99999999999999999999999", "-1", "9223372036854775808", "1e400", "nan",
         "0001-01-01", "9999-12-31", "localtime", "%0d%0aX:%20y", "x" * 3000, "nan,nan", "*", "%25")  # fmt: skip
ASKED = ("/home?id={}", "/fleet?zone={}", "/fleet/silent?zone={}", "/fleet/silent?min_s={}", "/fleet/silent?region={}", "/fleet/silent?cursor={}",
         "/analysis?zone={}", "/fleet/map?day={}", "/fleet/meter?id={}", "/fleet/meter?id=E00000001&day={}", "/fleet/point?id={}", "/fleet/search?q={}",
         "/fleet/search?q=SP&kind={}", "/fleet/search?q=SP&after={}", "/fleet/loads?before={}", "/fleet/load?id={}", "/fleet/batches?before={}",
         "/fleet/quarantine?reason={}", "/fleet/quarantine?first={}", "/admin/users?q={}", "/admin/users?after={}", "/admin/users/{}", "/admin/audit?account={}",
         "/admin/audit?subject={}", "/admin/audit?before={}", "/link/{}", "/sign-in?next={}", "/static/{}/style.css", "/static/x/{}", "/{}")  # fmt: skip


@pytest.mark.parametrize("path", ASKED)
def test_nothing_that_is_asked_makes_a_page_fail(signed, path):
    admin, customer = signed("admin"), signed("customer")
    for word in NASTY:
        for who in (admin, customer):
            answer = who.get(path.format(word))
            assert answer.status_code < 500, (path, word)
            assert "<script>" not in re.sub(r"<script[^>]*src=", "", answer.text), (path, word)
            assert not [name for name in answer.headers if name.lower() == "x"]


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND"])
def test_no_method_tells_a_neighbours_page_from_none(signed, place, method):
    customer = signed("customer")
    for path in (
        "/home?id={}",
        "/v1/service-points/{}",
        "/v1/service-points/{}/history",
        "/v1/live/service-points/{}/events",
    ):
        foreign, absent = (
            customer.ask(method, path.format(id_)) for id_ in (place.point("neighbour"), "SP99999999")
        )
        assert foreign.status_code == absent.status_code >= 400
        assert re.sub(r"made>[\d.]+", "", foreign.text) == re.sub(r"made>[\d.]+", "", absent.text)


def test_head_is_answered_as_get_with_the_same_rights(signed, place):
    customer = signed("customer")
    for path in (
        "/",
        "/sign-in",
        "/help",
        "/home",
        "/account",
        f"/home?id={place.point('neighbour')}",
        "/fleet",
        "/admin/users",
    ):
        asked, head = customer.get(path), customer.ask("HEAD", path)
        assert head.status_code == asked.status_code, path
        assert head.headers["content-type" if asked.status_code != 303 else "location"], path


def test_what_is_not_there_looks_like_what_is_not_ones_own(signed):
    customer = signed("customer")
    pages = [
        customer.get(path) for path in ("/fleet", "/admin/users", "/nothing", "/home/", "/HOME", "/home;x")
    ]
    assert {page.status_code for page in pages} == {404}
    assert len({re.sub(r"made>[\d.]+", "", page.text) for page in pages}) == 1


@pytest.mark.parametrize(
    "spelled",
    [
        "{}%00",
        "{}%20",
        "%20{}",
        "{}%E2%80%8B",
        "{}/",
        "./{}",
        "{}%2F",
        "{}%23",
        "{}%3Fx",
        "ＳＰ{}",
        "%EF%BC%B3{}",
        "{},{}",
    ],
)
def test_no_spelling_of_a_neighbours_id_is_answered(signed, place, spelled):
    customer, id_ = signed("customer"), place.point("neighbour")
    spelled = spelled.format(id_, id_)
    for path in (
        "/home?id={}",
        "/v1/service-points/{}",
        "/v1/live/service-points/{}",
        "/v1/service-points/{}/cost?from=2026-01-01&to=2026-01-02",
    ):
        assert customer.get(path.format(spelled)).status_code == 404, path


def test_more_ids_in_one_question_are_no_way_around(signed, place):
    customer, own, foreign = signed("customer"), place.home, place.point("neighbour")
    for query in (
        f"id={own}&id={foreign}",
        f"id={foreign}&id={own}",
        f"id[]={foreign}",
        f"ID={foreign}&id={own}",
    ):
        answer = customer.get(f"/home?{query}")
        assert foreign not in answer.text or answer.status_code == 404, query
    for path in (
        f"/v1/service-points/{own}/history?id={foreign}&from=2026-11-01&to=2026-11-02",
        f"/v1/service-points/{own}?service_point={foreign}&meter=E00000005",
    ):
        assert foreign not in customer.get(path).text


def test_headers_of_proxies_lead_nobody_elsewhere(signed, place):
    customer = signed("customer")
    for name in (
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-Forwarded-Prefix",
        "X-HTTP-Method-Override",
        "X-Forwarded-Host",
    ):
        answer = customer.get("/home", headers={name: f"/home?id={place.point('neighbour')}"})
        assert answer.status_code == 200
        assert place.point("neighbour") not in answer.text


def test_a_guesser_gets_no_more_tries_by_spelling_or_by_naming_another_address(app):
    browser = Browser(app, "198.51.100.77")
    spelled = (
        "Spelled@example.org",
        " spelled@example.org",
        "SPELLED@EXAMPLE.ORG",
        "spelled@example.org\t",
        "\uff53pelled@example.org",
    )
    said = []
    for n in range(12):
        form = {
            "email": spelled[n % len(spelled)],
            "password": "wrong password",
            "csrf": token(browser.get("/sign-in")),
        }
        said.append(browser.post("/sign-in", form, headers={"X-Forwarded-For": f"203.0.113.{n}"}).status_code)
    assert said == [401] * 10 + [503] * 2
    others = [sign_in(browser, f"other-{n}@example.org", "wrong password").status_code for n in range(45)]
    assert others[-1] == 503, "one address tries many names"


def test_behind_a_proxy_that_is_trusted_each_address_has_its_own_tries(app, place, monkeypatch):
    monkeypatch.setenv("METERLAKE_PROXIES", "192.0.2.0/24, 2001:db8::1")
    served = app.state.served
    made = make_web(served.node, served.ring._keys, served.desk)
    told = {
        "192.0.2.9": "203.0.113.5",
        "192.0.2.10": "198.51.100.1, 203.0.113.6, 192.0.2.9",
        "203.0.113.99": "203.0.113.7",
        "2001:db8::1": "nonsense",
    }
    seen = ["203.0.113.5", "203.0.113.6", "203.0.113.99", "2001:db8::1"]
    for (address, header), wanted in zip(told.items(), seen, strict=True):
        browser = Browser(made, address)
        form = {"email": place.email("analyst"), "password": PASSWORD, "csrf": token(browser.get("/sign-in"))}
        assert browser.post("/sign-in", form, headers={"X-Forwarded-For": header}).status_code == 303
        assert place.desk.trail(account=place.desk.named(place.email("analyst")).id)[0].where == wanted


def test_a_session_is_over_everywhere_after_each_way_to_end_it(app, place):
    desk = app.state.desk
    link = desk.invite("over@example.org", Role.CUSTOMER, [Hold(place.home)], None)
    desk.use_link(link, PASSWORD, "here")
    id_ = desk.named("over@example.org").id

    def everywhere(one):
        asked = (
            "/home",
            "/account",
            f"/v1/service-points/{place.home}",
            f"/v1/live/service-points/{place.home}/events",
        )
        return [one.get(path).status_code for path in asked]

    ends = (
        lambda: desk.sign_out_everywhere(id_),
        lambda: desk.use_link(desk.reset(id_, None), PASSWORD, "here"),
        lambda: desk.close(id_, None),
    )
    for end in ends:
        one = Browser(app)
        assert sign_in(one, "over@example.org").status_code == 303
        assert one.get("/home").status_code == 200
        end()
        assert everywhere(one) == [303, 303, 401, 401]
    desk.reopen(id_, None)
    assert everywhere(one) == [303, 303, 401, 401], "a session that ended does not come back"


def test_a_token_of_one_session_opens_no_form_of_another(app, signed):
    one, other = signed("customer"), signed("landlady")
    assert other.post("/account/everywhere", {"csrf": token(one.get("/account"))}).status_code == 403
    assert other.post("/sign-out", {"csrf": ""}).status_code == 403
    assert other.ask("POST", "/sign-out?csrf=" + token(other.get("/account"))).status_code == 403
    assert other.get("/account").status_code == 200


def test_a_used_link_opens_nothing_again_and_an_older_one_ends_with_a_newer(app, browser):
    desk = app.state.desk
    first = desk.invite("links@example.org", Role.ANALYST, (), None)
    second = desk.reset(desk.named("links@example.org").id, None)
    assert browser.get(f"/link/{first}").status_code == 404
    form = {"password": PASSWORD, "again": PASSWORD, "csrf": token(browser.get(f"/link/{second}"))}
    assert browser.post(f"/link/{second}", form).status_code == 303
    again = Browser(app)
    again.get("/sign-in")
    form["csrf"] = token(again.get("/sign-in"))
    assert again.post(f"/link/{second}", form).status_code == 404
    for spelled in (second.upper(), second + "%00", quote(second + " "), second[:-1]):
        assert again.get(f"/link/{spelled}").status_code == 404


PLACES = ("//evil.example", "/\\evil.example", "/\t/evil.example", "\n//evil.example", " //evil.example", "https:evil.example", "/%0d%0aSet-Cookie:a=b", "/\r\nX: y",
          "///evil.example", "/..//evil.example", "\\\\evil.example", "/\u2028/evil", "data:text/html,x")  # fmt: skip


@pytest.mark.parametrize("path", PLACES)
def test_no_address_to_come_back_to_leads_away(browser, signed, place, path):
    answers = [
        sign_in(browser, place.email("customer"), next=path),
        signed("customer").get("/sign-in", params={"next": path}),
    ]
    for answer in answers:
        led = answer.headers["location"]
        assert led.startswith("/"), led
        assert not led.startswith(("//", "/\\"))
        assert "evil.example" not in led or led.startswith("/..//"), "it stays on this server"
        assert not re.search(r"[\r\n\t]", led)
        assert "x" not in answer.headers


def test_cookies_are_for_this_server_alone_and_over_https_where_it_is(app, place, monkeypatch):
    def cookies():
        browser = Browser(app, "198.51.100.200")
        form = browser.get("/sign-in").headers.get_list("set-cookie")
        return form + sign_in(browser, place.email("landlady")).headers.get_list("set-cookie")

    for cookie in cookies():
        assert "HttpOnly" in cookie or "Max-Age=0" in cookie
        assert "Domain" not in cookie
        assert "Path=/" in cookie
    monkeypatch.setenv("METERLAKE_PUBLIC_URL", "https://lake.example")
    assert all("Secure" in cookie or "Max-Age=0" in cookie for cookie in cookies())


def test_nothing_personal_is_kept_by_anybody_between(signed, place):
    customer = signed("customer")
    span = "from=2026-11-01&to=2026-11-02"
    for path in ("/home", "/account", "/sign-in", f"/v1/service-points/{place.home}", f"/v1/service-points/{place.home}/history?{span}&form=csv",
                 f"/v1/live/service-points/{place.home}", f"/v1/service-points/{place.home}/cost?{span}", "/v1/service-points"):  # fmt: skip
        answer = customer.get(path)
        kept = answer.headers.get("cache-control", "")
        assert "no-store" in kept or "private" in kept, path
        assert "Cookie" in answer.headers.get("vary", "") or "no-store" in kept, path
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


def test_a_file_is_named_in_characters_that_cannot_end_a_header(signed, place):
    customer = signed("customer")
    for end in ("2026-11-02%22%0d%0aX:y", "2026-11-02;filename=evil.exe", "2026-11-02"):
        answer = customer.get(f"/v1/service-points/{place.home}/history?from=2026-11-01&to={end}&form=csv")
        named = answer.headers.get("content-disposition", 'attachment; filename="none"')
        assert re.fullmatch(r'attachment; filename="[\w.-]+"', named)


def test_one_account_cannot_hold_all_streams(app):
    streams = app.state.served.streams
    held = [streams.enter("greedy") for _ in range(app.state.served.limits.streams_each)]
    try:
        with pytest.raises(Exception, match="of your account"):
            streams.enter("greedy")
        for who in ("modest", None):
            streams.leave(streams.enter(who))
    finally:
        for one in held:
            streams.leave(one)
    streams.leave(streams.enter("greedy"))


def test_the_token_of_a_form_is_worth_nothing_without_its_cookie(app):
    browser = Browser(app)
    own = token(browser.get("/sign-in"))
    stranger = Browser(app)
    assert (
        stranger.post("/sign-in", {"csrf": own, "email": "a@example.org", "password": "x"}).status_code == 403
    )
    stranger.cookies.set("meterlake_form", "")
    assert (
        stranger.post("/sign-in", {"csrf": "", "email": "a@example.org", "password": "x"}).status_code == 403
    )


def test_every_route_of_one_thing_takes_an_id_with_a_slash(app):
    routes = [route for route in every_route(app) if "{" in route.path and route.path.startswith("/v1/")]
    assert len(routes) > 10
    assert [route.path for route in routes if not isinstance(route, Named)] == []
