"""The door: who comes in, how, and what every answer carries."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import meterlake.web
from meterlake.people import Hold, Role
from meterlake.testing.town import PASSWORD
from meterlake.web.static_files import asset

HIDDEN = re.compile(r'name="csrf" value="([^"]+)"')
FOLDER = Path(meterlake.web.__file__).parent


def token(page):
    return HIDDEN.search(page.text).group(1)


def sign_in(browser, email, password=PASSWORD, **more):
    form = {"email": email, "password": password, "csrf": token(browser.get("/sign-in"))}
    return browser.post("/sign-in", form | more)


def test_a_customer_signs_in_sees_home_and_signs_out(browser, place):
    answer = sign_in(browser, place.email("customer"))
    assert (answer.status_code, answer.headers["location"]) == (303, "/home")
    cookie = next(
        one for one in answer.headers.get_list("set-cookie") if one.startswith("meterlake_session=")
    )
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    home = browser.get("/home")
    assert home.status_code == 200
    assert place.home in home.text
    assert browser.post("/sign-out", {"csrf": token(home)}).status_code == 303
    assert browser.get("/home").headers["location"].startswith("/sign-in?next=%2Fhome")


def test_a_wrong_password_and_an_unknown_person_read_the_same(browser, place):
    wrong = sign_in(browser, place.email("operator"), "not the password at all")
    nobody = sign_in(browser, "nobody@example.org", "not the password at all")
    assert wrong.status_code == nobody.status_code == 401
    said = [re.search(r'role="alert">([^<]+)<', answer.text).group(1) for answer in (wrong, nobody)]
    assert said[0] == said[1]
    assert "meterlake_session" not in "".join(wrong.headers.get_list("set-cookie"))


def test_a_guesser_is_told_to_wait(app, place):
    from .conftest import Browser

    browser = Browser(app, "198.51.100.9")
    statuses = [sign_in(browser, "guessed@example.org", f"wrong password {n}").status_code for n in range(12)]
    assert statuses[0] == 401
    last = sign_in(browser, "guessed@example.org", "wrong password")
    assert last.status_code == 503
    assert int(last.headers["retry-after"]) > 0


def test_forms_are_taken_from_pages_of_this_server_alone(browser, signed, place):
    form = {"email": place.email("customer"), "password": PASSWORD}
    assert browser.post("/sign-in", form | {"csrf": "made up"}).status_code == 403
    browser.get("/sign-in")
    own = token(browser.get("/sign-in"))
    foreign = {"Origin": "https://evil.example"}
    assert browser.post("/sign-in", form | {"csrf": own}, headers=foreign).status_code == 403
    cross = {"Sec-Fetch-Site": "cross-site"}
    assert browser.post("/sign-in", form | {"csrf": own}, headers=cross).status_code == 403
    customer = signed("customer")
    assert customer.post("/sign-out", {"csrf": own}).status_code == 403
    assert customer.get("/home").status_code == 200


@pytest.mark.parametrize(
    "path", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)"]
)
def test_the_door_leads_to_pages_of_this_server_alone(browser, place, path):
    assert sign_in(browser, place.email("customer"), next=path).headers["location"] == "/home"


def test_a_link_sets_a_password_once(app, browser):
    desk = app.state.desk
    link = desk.invite("new@example.org", Role.OPERATOR, (), None)
    page = browser.get(f"/link/{link}")
    assert "new@example.org" in page.text
    weak = browser.post(f"/link/{link}", {"password": "short", "again": "short", "csrf": token(page)})
    assert weak.status_code == 400
    differ = browser.post(
        f"/link/{link}", {"password": PASSWORD, "again": PASSWORD + "x", "csrf": token(page)}
    )
    assert differ.status_code == 400
    done = browser.post(f"/link/{link}", {"password": PASSWORD, "again": PASSWORD, "csrf": token(page)})
    assert (done.status_code, done.headers["location"]) == (303, "/fleet")
    assert browser.get(f"/link/{link}").status_code == 404


def test_a_password_change_ends_other_sessions(app, browser):
    from .conftest import Browser

    link = app.state.desk.invite("changes@example.org", Role.ANALYST, (), None)
    app.state.desk.use_link(link, PASSWORD, "here")
    other = Browser(app)
    for one in (browser, other):
        assert sign_in(one, "changes@example.org").status_code == 303
    form = {
        "old": PASSWORD,
        "new": PASSWORD + " 2",
        "again": PASSWORD + " 2",
        "csrf": token(browser.get("/account")),
    }
    assert browser.post("/account/password", form | {"old": "wrong"}).status_code == 400
    assert browser.post("/account/password", form).status_code == 200
    assert browser.get("/account").status_code == 200
    assert other.get("/account").status_code == 303


def test_an_admin_invites_resets_and_closes(signed, browser):
    admin = signed("admin")
    own = token(admin.get("/admin/users"))
    form = {"email": "made@example.org", "role": "analyst", "name": "<i>Made</i>", "csrf": own}
    made = admin.post("/admin/users", form)
    assert re.search(r"http://test/link/[\w-]+", made.text)
    assert "<i>Made" not in made.text
    assert "&lt;i&gt;Made" in admin.get("/admin/users?q=made").text
    id_ = re.search(r'/admin/users/([^"]+)">made@', admin.get("/admin/users?q=made").text).group(1)
    assert "shown once" in admin.post(f"/admin/users/{id_}/reset", {"csrf": own}).text
    assert admin.post(f"/admin/users/{id_}/close", {"csrf": own}).status_code == 303
    assert "closed" in admin.get(f"/admin/users/{id_}").text
    assert "made@example.org" in admin.get("/admin/audit").text or id_ in admin.get("/admin/audit").text
    assert browser.get("/admin/users").status_code == 303
    assert signed("operator").get("/admin/users").status_code == 404


def test_an_admin_says_what_a_customer_holds(app, signed):
    admin = signed("admin")
    app.state.desk.invite("holder@example.org", Role.CUSTOMER, (), None)
    id_ = app.state.desk.named("holder@example.org").id
    own = token(admin.get("/admin/users"))
    form = {"holds": "SP1 2024-01-01..2025-01-01\nSP2\n", "csrf": own}
    assert admin.post(f"/admin/users/{id_}/holds", form).status_code == 303
    assert "SP1 2024-01-01..2025-01-01\nSP2" in admin.get(f"/admin/users/{id_}").text
    wrong = admin.post(f"/admin/users/{id_}/holds", {"holds": "SP1 yesterday", "csrf": own})
    assert wrong.status_code == 400
    assert "line 1" in wrong.text


def test_an_admin_changes_role_and_email(app, signed):
    from .conftest import Browser

    admin, desk = signed("admin"), app.state.desk
    desk.use_link(desk.invite("turns@example.org", Role.CUSTOMER, [Hold("SP1")], None), PASSWORD, "here")
    id_, other = desk.named("turns@example.org").id, Browser(app)
    assert sign_in(other, "turns@example.org").status_code == 303
    own = token(admin.get(f"/admin/users/{id_}"))
    form = {"role": "analyst", "email": "turned@example.org", "csrf": own}
    assert signed("operator").post(f"/admin/users/{id_}/change", form).status_code == 404
    assert admin.post(f"/admin/users/{id_}/change", form | {"csrf": "x"}).status_code == 403
    for wrong in ({"role": "queen"}, {"email": "nobody"}, {"role": "customer", "email": "turns@example.org"}):
        assert admin.post(f"/admin/users/{id_}/change", form | wrong).status_code == 400
    assert admin.post(f"/admin/users/{id_}/change", form).status_code == 303
    assert other.get("/account").status_code == 303
    text = admin.get(f"/admin/users/{id_}").text
    assert "role changed from customer to analyst; e-mail changed from turns@example.org to turned" in text
    me = desk.named("admin@example.com")
    answer = admin.post(f"/admin/users/{me.id}/change", {"role": "operator", "email": me.email, "csrf": own})
    assert (answer.status_code, "another admin" in answer.text) == (400, True)
    assert admin.post(f"/admin/users/{me.id}/close", {"csrf": own}).status_code == 400
    assert admin.get("/admin/users").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/sign-in",
        "/help",
        "/help/api",
        "/nothing",
        "/v1/meters",
        "/healthz",
        "/link/none",
        asset("style.css"),
    ],
)
def test_every_answer_carries_the_policy(browser, path):
    policy = browser.get(path).headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert browser.get(path).headers["x-content-type-options"] == "nosniff"


def test_a_page_says_how_long_it_took_and_is_kept_nowhere(browser):
    page = browser.get("/")
    assert re.search(r"data-made>\d+\.\d<", page.text)
    assert page.headers["cache-control"] == "no-store"


def test_files_are_kept_for_ever_under_their_version(browser):
    found = browser.get(asset("ask.js"), headers={"Accept-Encoding": "gzip"})
    assert "immutable" in found.headers["cache-control"]
    assert found.headers["content-type"].startswith("text/javascript")
    assert found.content == (FOLDER / "static" / "ask.js").read_bytes()
    assert browser.get("/static/older/ask.js").headers["cache-control"] == "no-cache"
    assert browser.get("/static/x/none.js").status_code == 404
    assert browser.get("/static/x/..%2Fshell.py").status_code == 404


def test_no_page_asks_anything_of_another_server():
    for path in (*FOLDER.glob("templates/*"), *FOLDER.glob("static/*")):
        text = path.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://", text), path.name
        assert not re.search(r"\son\w+=\"", text), path.name
        if path.suffix == ".html":
            assert not re.search(r"<script(?![^>]*(src=|application/json))", text), path.name
            assert " style=" not in text, path.name


def test_help_explains_every_word_and_route(browser):
    words, api = browser.get("/help").text, browser.get("/help/api").text
    assert "passport" in words
    assert "/v1/meters/{id}/history" in api


def test_what_nobody_thought_of_is_a_page_for_people_and_a_problem_for_programs(signed, app, monkeypatch):
    class Broken:
        def lists(self):
            raise ZeroDivisionError("secret <words>")

        stamp = lists

    monkeypatch.setattr(app.state.served, "roster", Broken())
    page = signed("operator").get("/fleet/search?q=x")
    assert page.status_code == 500
    assert page.headers["content-type"].startswith("text/html")
    assert "The log says why" in page.text
    assert "secret" not in page.text
    problem = signed("operator").get("/v1/meters")
    assert problem.status_code == 500
    assert problem.headers["content-type"] == "application/problem+json"
