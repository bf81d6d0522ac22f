"""Models of a server that runs: loaded, unloaded and listed over HTTP, kept for their time, added and removed beside it."""

import asyncio
import json
import math
import time

import httpx
import ollama
import pytest

from llamaforge.config import Config
from llamaforge.exceptions import ConfigError, ParameterError
from llamaforge.forge import LlamaForge
from llamaforge.pool import ModelStatus
from llamaforge.server import ApiServer, create_api_server, residence
from llamaforge.server.catalog import Catalog
from llamaforge.server.residence import keep_alive_seconds
from tests.support.eliza import SAD as SORRY

SAD = [{"role": "user", "content": "I am sad"}]


@pytest.fixture
def file(tmp_path):
    """A configuration with two models."""
    config = Config(tmp_path / "config.json")
    config.set("models_dir", str(tmp_path / "models"))
    config.add_model("doctor", "doctor", "eliza", metadata={"aliases": ["gpt-4"]})
    config.add_model("brief", "doctor", "eliza", metadata={"keep_alive": "0s"})
    config.add_model("slow", "doctor", "eliza", {"delay": 0.05})
    config.save()
    return tmp_path / "config.json"


@pytest.fixture
def http(file, monkeypatch):
    monkeypatch.setattr(residence, "TICK", 0.02)
    with ApiServer(LlamaForge(file), port=0) as server, httpx.Client(base_url=server.url, timeout=20) as made:
        yield made


def ask(http, model="doctor", **more):
    return http.post("/v1/chat/completions", json={"model": model, "messages": SAD, **more})


def running(http):
    return {entry["name"]: entry for entry in http.get("/api/ps").json()["models"]}


def until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def edit(file, change):
    config = Config(file)
    change(config)
    config.save()


# ---- load, unload, ps


def test_a_model_is_loaded_listed_and_unloaded(http):
    assert running(http) == {}
    loaded = http.post("/api/load", json={"model": "gpt-4"}).json()
    assert (loaded["name"], loaded["state"], loaded["expires_at"]) == ("doctor", "ready", None)
    assert list(running(http)) == ["doctor"]
    assert http.post("/api/unload", json={"model": "gpt-4"}).json() == {"model": "doctor", "unloaded": True}
    assert http.post("/api/unload", json={"model": "doctor"}).json() == {"model": "doctor", "unloaded": False}
    assert running(http) == {}


def test_ollamas_client_reads_what_runs(http):
    http.post("/api/load", json={"model": "doctor", "keep_alive": "1h"})
    with ollama.Client(host=str(http.base_url)) as client:
        [model] = client.ps().models
    assert (model.name, model.model) == ("doctor", "doctor")
    assert model.size > 0
    assert 3500 < model.expires_at.timestamp() - time.time() <= 3600


def test_unloading_lets_running_answers_end_unless_forced(http):
    for force, broken in ((False, False), (True, True)):
        with http.stream(
            "POST", "/v1/chat/completions", json={"model": "slow", "messages": SAD, "stream": True}
        ) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert http.post("/api/unload", json={"model": "slow", "force": force}).json()["unloaded"]
            assert any('"error"' in line for line in lines) == broken


@pytest.mark.parametrize("path", ["/api/load", "/api/unload"])
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400), (b"[]", 400), (b"{}", 400), (b'{"model": 7}', 400), (b'{"model": "nobody"}', 404),
        (b'{"model": "doctor", "keep_alive": "soon", "force": 1}', 400),
        (b'{"model": "doctor", "keep_alive": [], "force": []}', 400),
        (b'{"model": "%s"}' % (b"x" * 100_000), 413),
    ],
)  # fmt: skip
def test_bad_bodies(http, path, body, status):
    answer = http.post(path, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, "message" in answer.json()["error"]) == (status, True)
    assert http.post(path, content=body, headers={"content-type": "text/plain"}).status_code == 415


async def test_the_key_guards_them():
    app = create_api_server(LlamaForge(":memory:"), api_key="right")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        for method, path in (("GET", "/api/ps"), ("POST", "/api/load"), ("POST", "/api/unload")):
            assert (await client.request(method, path, json={"model": "x"})).status_code == 401
        headers = {"authorization": "Bearer right"}
        assert (await client.get("/api/ps", headers=headers)).json() == {"models": []}


# ---- how long they stay


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(None, None), (0, 0), (1.5, 1.5), ("10m", 600), ("1h30m", 5400), ("300ms", 0.3), ("42", 42), (" 5s ", 5),
     (-1, math.inf), ("-1", math.inf), ("-1m", math.inf), ("0", 0), (1e300, math.inf), (10**400, math.inf)],
)  # fmt: skip
def test_durations(value, seconds):
    assert keep_alive_seconds(value) == (pytest.approx(seconds) if seconds is not None else None)


@pytest.mark.parametrize("value", [True, [], {}, "", "soon", "5 minutes", "m5", "1d", "--1", float("nan"), "9" * 400])
def test_what_is_no_duration(value):
    with pytest.raises(ParameterError, match="keep_alive"):
        keep_alive_seconds(value)


def test_a_request_says_how_long_its_model_stays(http):
    assert ask(http, keep_alive=0).json()["choices"][0]["message"]["content"] == SORRY
    until(lambda: "doctor" not in running(http))
    assert ask(http, keep_alive="1h").status_code == 200
    time.sleep(0.2)
    assert running(http)["doctor"]["expires_at"] is not None
    assert ask(http).status_code == 200  # what was said last goes on
    until(lambda: running(http)["doctor"]["expires_at"] is not None)
    assert ask(http, keep_alive=-1).status_code == 200
    assert running(http)["doctor"]["expires_at"] is None
    assert ask(http, keep_alive="soon").status_code == 400


def test_a_model_says_how_long_it_stays(http):
    assert ask(http, "brief").status_code == 200
    until(lambda: "brief" not in running(http))
    assert ask(http, "brief", keep_alive=60).status_code == 200
    time.sleep(0.2)
    assert "brief" in running(http)


def test_a_model_whose_entry_is_wrong_about_it_answers_all_the_same(http, file, caplog):
    edit(file, lambda config: config.add_model("wrong", "doctor", "eliza", metadata={"keep_alive": ["soon"]}))
    for _ in range(3):
        assert ask(http, "wrong").status_code == 200
    assert http.post("/api/load", json={"model": "wrong"}).status_code == 200
    assert http.post("/v1/models/wrong").status_code == 200
    (told,) = (r.message for r in caplog.records if "'wrong' are passed over" in r.message)
    assert "'keep_alive' must be" in told
    # Who asks is refused what is wrong in the request, and may say it right.
    assert ask(http, "wrong", keep_alive="soon").status_code == 400
    assert ask(http, "wrong", keep_alive=0).status_code == 200
    until(lambda: "wrong" not in running(http))


def test_the_server_says_how_long_models_stay(file, monkeypatch):
    monkeypatch.setattr(residence, "TICK", 0.02)
    with (
        ApiServer(LlamaForge(file), port=0, idle_seconds=0.2) as server,
        httpx.Client(base_url=server.url, timeout=60) as http,
    ):
        begun = time.monotonic()
        assert ask(http).status_code == 200
        until(lambda: "doctor" not in running(http))
        assert time.monotonic() - begun > 0.2


def test_one_that_is_used_stays(http):
    with http.stream(
        "POST", "/v1/chat/completions", json={"model": "slow", "messages": SAD, "stream": True, "keep_alive": 0}
    ) as answer:
        lines = list(answer.iter_lines())
    assert "data: [DONE]" in lines
    until(lambda: "slow" not in running(http))


# ---- added and removed


def test_models_that_are_added_and_removed_are_seen(http, file):
    assert ask(http, "other").status_code == 404
    edit(file, lambda config: config.add_model("other", "doctor", "eliza"))
    assert ask(http, "other").json()["choices"][0]["message"]["content"] == SORRY
    assert [entry["id"] for entry in http.get("/v1/models").json()["data"]][-1] == "other"
    edit(file, lambda config: config.remove_model("other"))
    until(lambda: "other" not in running(http))
    assert ask(http, "other").status_code == 404
    assert [entry["id"] for entry in http.get("/v1/models").json()["data"]] == ["doctor", "brief", "slow"]


def test_a_model_that_is_changed_is_run_anew(http, file):
    begun = time.monotonic()
    assert ask(http, "slow").status_code == 200
    assert time.monotonic() - begun > 0.3
    edit(file, lambda config: config.add_model("slow", "doctor", "eliza", {"delay": 0}))
    until(lambda: asked_within(http, 0.3))


def asked_within(http, seconds):
    begun = time.monotonic()
    assert ask(http, "slow").status_code == 200
    return time.monotonic() - begun < seconds


def test_a_file_that_breaks_changes_nothing(http, file, caplog):
    text = file.read_text()
    file.write_text("{")
    assert ask(http).status_code == 200
    until(lambda: any("The models stay as they were" in record.getMessage() for record in caplog.records))
    file.write_text(text.replace('"doctor": {', '"nurse": {'))
    assert ask(http, "nurse").status_code == 200


class TestRefresh:
    def test_what_others_wrote_comes_and_what_was_not_saved_stays(self, file):
        config = Config(file)
        config.refresh()
        config.add_model("mine", "doctor", "eliza")
        config.set("server.port", 9000)
        assert config.refresh() is False
        edit(file, lambda other: (other.add_model("theirs", "doctor", "eliza"), other.remove_model("slow")))
        assert config.refresh() is True
        assert config.list_models() == ["doctor", "brief", "mine", "theirs"]
        assert config.get("server.port") == 9000
        config.save()
        assert Config(file).list_models() == ["doctor", "brief", "theirs", "mine"]

    def test_a_broken_file_is_told_once(self, file):
        config = Config(file)
        file.write_text(json.dumps({"models": []}))
        with pytest.raises(ConfigError, match="'models' must be an object"):
            config.refresh()
        assert config.refresh() is False
        assert config.list_models() == ["doctor", "brief", "slow"]

    def test_a_file_that_is_gone_and_none_at_all(self, file):
        config = Config(file)
        config.refresh()
        file.unlink()
        assert config.refresh() is True
        assert config.list_models() == []
        assert Config(":memory:").refresh() is False


class Going:
    """A pool of two models whose time is over; with the first, the second one goes, too."""

    def __init__(self):
        self.names = ["doctor", "brief"]

    def status(self):
        return [ModelStatus(name, "ready", 1.0, 1, 0, 1, 0, 0, 1.0, None, 0) for name in self.names]

    async def unload(self, _name):
        self.names.clear()
        return True


async def test_a_model_that_goes_beside_the_watch_does_not_end_it(file):
    pool = Going()
    watch = residence.Residence(pool, Catalog(LlamaForge(file), 1), 0.0)
    await watch.tick()
    assert pool.names == []


async def test_no_error_ends_the_watch(file, monkeypatch, caplog):
    monkeypatch.setattr(residence, "TICK", 0.0)
    again = asyncio.Event()
    watch = residence.Residence(Going(), Catalog(LlamaForge(file), 1), None)

    async def broken():
        if again.is_set():
            await asyncio.sleep(60)
        again.set()
        raise OSError("no disk")

    monkeypatch.setattr(watch, "tick", broken)
    task = asyncio.create_task(watch.run())
    await again.wait()
    await asyncio.sleep(0.05)
    assert not task.done()
    task.cancel()
    assert "no disk" in caplog.text


async def test_the_watch_ends_with_the_server(file):
    app = create_api_server(LlamaForge(file))
    async with app.router.lifespan_context(app):
        assert any(task.get_name() == "models' residence" for task in asyncio.all_tasks())
    await asyncio.sleep(0)
    assert not any(task.get_name() == "models' residence" for task in asyncio.all_tasks())
