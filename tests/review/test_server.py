"""What the server answers, and to whom."""

import json

import pytest

pytest.importorskip("starlette", reason="the extra `review` is not installed")
pytest.importorskip("httpx", reason="httpx is not installed")

from starlette.testclient import TestClient

from selfdistill._core.errors import SettingError
from selfdistill.review._server import address, application, listen, new_token

TOKEN, HOST = "secret", "http://127.0.0.1:8000"
OWN = {"Origin": HOST, "Content-Type": "application/json"}


@pytest.fixture
def client(texts, opened):
    session = opened(texts)
    found = TestClient(application(session, TOKEN, 8000), base_url=HOST)
    found.session = session
    return found


def post(client, path, body, headers=OWN):
    return client.post(f"/{TOKEN}/{path}", content=json.dumps(body), headers=headers)


def test_the_page_and_its_parts(client):
    for name, kind in [("", "text/html"), ("page.js", "text/javascript"), ("page.css", "text/css")]:
        found = client.get(f"/{TOKEN}/{name}")
        assert found.status_code == 200
        assert found.headers["content-type"].startswith(kind)
        policy = found.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert found.headers["x-content-type-options"] == "nosniff"
    page = client.get(f"/{TOKEN}/").text
    assert "<script>" not in page
    assert "style=" not in page
    assert "http" not in page.replace("http-equiv", "")  # nothing from elsewhere


@pytest.mark.parametrize(
    ("path", "headers", "why"),
    [
        ("/wrong/", {}, "another address"),
        ("/", {}, "another address"),
        ("/favicon.ico", {}, "another address"),
        (f"/{TOKEN}/", {"Host": "evil.example"}, "another host"),
        (f"/{TOKEN}/", {"Host": "127.0.0.1:9999"}, "another host"),
        (f"/{TOKEN}/state", {"Origin": "http://evil.example"}, "another origin"),
        (f"/{TOKEN}/state", {"Origin": "null"}, "another origin"),
        (f"/{TOKEN}/state", {"Origin": "https://127.0.0.1:8000"}, "another origin"),
        (f"/{TOKEN}/state", {"Sec-Fetch-Site": "cross-site"}, "another site"),
        (f"/{TOKEN}/photo/0/small", {"Sec-Fetch-Site": "same-site"}, "another site"),
    ],
)
def test_strangers_are_refused(client, path, headers, why):
    found = client.get(path, headers=headers)
    assert found.status_code == 403
    assert why in found.text
    assert "content-security-policy" in found.headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json"},
        {"Origin": HOST, "Content-Type": "text/plain"},
        {"Origin": HOST, "Content-Type": "application/x-www-form-urlencoded"},
        {"Origin": "http://evil.example", "Content-Type": "application/json"},
    ],
)
def test_no_other_page_can_decide(client, headers):
    found = post(client, "decide", {"version": 0, "kind": "label", "rows": [0], "labels": [0]}, headers)
    assert found.status_code == 403
    assert client.session.journal.version == 0


def test_nothing_is_served_by_path(client):
    for path in (
        "photo/..%2f..%2frun.json/small",
        "../run.json",
        "photo/0/../../x",
        "export/..",
        "export/py",
        "page.html",
    ):
        assert client.get(f"/{TOKEN}/{path}").status_code in {403, 404}
    for path in ("content/99999", "card/99999", "next?have=99999999999", "next?given=x", "above?share=nan&given=9999"):
        assert client.get(f"/{TOKEN}/{path}").status_code in {200, 400}
    assert client.get(f"/{TOKEN}/photo/99999/small").status_code == 404
    assert client.get(f"/{TOKEN}/photo/0/huge").status_code == 404


def test_decide_undo_and_a_page_that_is_behind(client):
    first = client.get(f"/{TOKEN}/start").json()
    row = first["cards"][0]["row"]
    body = {"version": 0, "kind": "label", "rows": [row], "labels": [0]}
    found = post(client, "decide", body).json()
    assert (found["version"], found["card"]["decided"], found["decided"]) == (1, 0, 1)
    late = post(client, "decide", body)
    assert (late.status_code, late.json()) == (409, {"behind": True})
    assert client.get(f"/{TOKEN}/next").json()["cards"][0]["row"] != row
    assert client.get(f"/{TOKEN}/export/csv").text.splitlines()[0] == "id,given_label,label,decision"
    assert client.get(f"/{TOKEN}/export/json").json()[0]["annotations"]
    assert post(client, "undo", {"version": 1}).json()["rows"] == [row]
    assert post(client, "undo", {"version": 2}).json()["rows"] == []


@pytest.mark.parametrize(
    "body",
    [[], {}, {"version": 0}, {"version": 0, "kind": "label", "rows": ["x"]}, {"version": 0, "kind": "x", "rows": [0]}],
)
def test_bad_requests_are_told_in_one_line(client, body):
    found = post(client, "decide", body)
    assert found.status_code == 400
    assert found.json()["error"]
    assert client.session.journal.version == 0


def test_a_field_that_is_missing_is_named_in_a_sentence(client):
    for found, field in ((post(client, "decide", {}), "version"), (client.get(f"/{TOKEN}/above"), "share")):
        assert (found.status_code, found.json()) == (400, {"error": f"The request has no field '{field}'."})
    assert client.get(f"/{TOKEN}/photo/0/huge").text == "There is small and large."


def test_a_request_that_is_too_large_or_no_json(client):
    assert "more than" in post(client, "decide", {"rows": "x" * 2**23}).json()["error"]
    assert client.post(f"/{TOKEN}/decide", content=b"{", headers=OWN).status_code == 400


def test_photos_are_never_the_file_itself(photos, opened):
    session = opened(photos)
    client = TestClient(application(session, TOKEN, 8000), base_url=HOST)
    good, gone, svg = (session.saved.ids.index(name) for name in ("red/02.png", "red/00.png", "blue/01.png"))
    found = client.get(f"/{TOKEN}/photo/{good}/large")
    assert (found.status_code, found.headers["content-type"]) in {(200, "image/png"), (200, "image/jpeg")}
    for row in (gone, svg):
        missing = client.get(f"/{TOKEN}/photo/{row}/large")
        assert (missing.status_code, missing.headers["content-type"]) == (404, "text/plain; charset=utf-8")
        assert "<svg" not in missing.text


def test_ports_and_tokens():
    taken = listen()
    port = taken.getsockname()[1]
    assert address(taken, "t") == f"http://127.0.0.1:{port}/t/"
    for bad in (port, 70_000):
        with pytest.raises(SettingError, match=f"port {bad} cannot be used"):
            listen(bad)
    taken.close()
    assert new_token() != new_token()
    assert len(new_token()) >= 32
