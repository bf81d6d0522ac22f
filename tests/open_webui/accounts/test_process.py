"""The real process: the admin that the environment names, and a start that fails in one sentence."""

from collections.abc import Callable

import httpx
import pytest

from tests.support.server import Server

MakeServer = Callable[..., Server]
ADMIN = {"WEBUI_ADMIN_EMAIL": "root@example.com", "WEBUI_ADMIN_PASSWORD": "correct horse battery"}


def test_the_named_admin_signs_in_after_each_start(make_server: MakeServer) -> None:
    server = make_server(**ADMIN)
    form = {"email": ADMIN["WEBUI_ADMIN_EMAIL"], "password": ADMIN["WEBUI_ADMIN_PASSWORD"]}
    for _ in range(2):
        server.start()
        with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as browser:
            reply = browser.post("/api/v1/auths/signin", json=form)
            assert (reply.status_code, reply.json()["role"]) == (200, "admin")
            assert browser.get("/api/v1/auths/").status_code == 200
            assert browser.get("/user.png").headers["content-type"] == "image/png"
        server.kill()
    assert ADMIN["WEBUI_ADMIN_PASSWORD"] not in server.log


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"WEBUI_ADMIN_EMAIL": "nobody"}, "WEBUI_ADMIN_EMAIL"),
        ({"WEBUI_ADMIN_PASSWORD": "a very secret word " * 100}, "WEBUI_ADMIN_PASSWORD"),
        ({"DEFAULT_USER_ROLE": "emperor"}, "DEFAULT_USER_ROLE"),
    ],
)
def test_a_start_that_fails_says_why_in_one_sentence(
    make_server: MakeServer, change: dict[str, str], said: str
) -> None:
    server = make_server(**(ADMIN | change))
    assert server.launch().wait(timeout=30) != 0
    lines = [line for line in server.log.splitlines() if line.startswith("oui-backend: ")]
    assert len(lines) == 1
    assert said in lines[0]
    assert "Traceback" not in server.log
    assert "secret word" not in server.log
