"""What the environment says at the start: the settings of the seeds' README are honoured or named."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from open_webui.config import SETTINGS, Config
from open_webui.env import Settings
from open_webui.utils import unused_variables
from open_webui.utils.unused_variables import KEPT, NAMES, without_effect
from tests.architecture.test_house_rules import SERVER
from tests.faults.test_starts import refused
from tests.support.server import Server

MakeServer = Callable[..., Server]
OPENAI = ["https://api.openai.com/v1"]


def test_the_list_names_nothing_that_is_there() -> None:
    there = {v for s in SETTINGS for v in s.variables} | {name.upper() for name in Settings.model_fields}
    assert NAMES & there == KEPT
    assert set(unused_variables.INSTEAD) <= NAMES
    assert set(unused_variables.INSTEAD.values()) <= there
    assert {"ENABLE_OTEL", "WEBUI_AUTH", "SRC_LOG_LEVELS"} <= NAMES


def test_what_is_only_kept_is_read_by_nothing() -> None:
    code = "".join(file.read_text(encoding="utf-8") for file in SERVER if "config" not in file.parts)
    keys = {s.key for s in SETTINGS if set(s.variables) & KEPT}
    assert [key for key in sorted(keys) if f'"{key}"' in code] == []


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({}, []),
        ({"PATH": "/bin", "OPENAI_API_KEY": "x", "MAIN_LOG_LEVEL": "DEBUG"}, []),
        ({"WEBUI_AUTH": "false", "ENABLE_OTEL": "true"}, ["ENABLE_OTEL", "WEBUI_AUTH"]),
        ({"SRC_LOG_LEVELS": "{}"}, ["SRC_LOG_LEVELS (see LOG_LEVELS)"]),
        # What isn't here is off already, and an empty variable is none.
        ({"ENABLE_OTEL": "False", "ENABLE_NOTES": "0", "WHISPER_MODEL": ""}, []),
    ],
)
def test_variables_without_effect(environ: dict[str, str], named: list[str]) -> None:
    assert without_effect(environ) == named


@pytest.mark.parametrize(
    ("environ", "urls"),
    [
        ({}, []),
        ({"OPENAI_API_KEY": "sk-1"}, OPENAI),
        ({"OPENAI_API_KEYS": "sk-1"}, OPENAI),
        ({"OPENAI_API_KEY": "sk-1", "OPENAI_API_BASE_URL": ""}, OPENAI),
        ({"OPENAI_API_KEY": ""}, []),
        ({"OPENAI_API_KEYS": ";"}, []),
        ({"OPENAI_API_KEY": "sk-1", "OPENAI_API_BASE_URL": "http://x/v1"}, ["http://x/v1"]),
    ],
)
def test_a_key_alone_is_for_openai(environ: dict[str, str], urls: list[str]) -> None:
    config = Config(environ)
    assert config["openai.api_base_urls"] == urls
    config.load({"openai.api_base_urls": ["http://stored/v1"]})
    stored = "OPENAI_API_BASE_URL" not in environ or not environ["OPENAI_API_BASE_URL"]
    assert config["openai.api_base_urls"] == (["http://stored/v1"] if stored else urls)


def test_the_seeds_file_starts_a_server(make_server: MakeServer) -> None:
    server = make_server(WEBUI_SECRET_KEY="")
    del server.environment["WEBUI_SECRET_KEY"], server.environment["DATA_DIR"]
    (server.folder / ".env").write_text(
        "DATABASE_URL=sqlite:///./data/webui.db\nWEBUI_SECRET_KEY=your-secret-key\nENABLE_OAUTH=true\n"
        "WEBUI_AUTH=false\nMAIN_LOG_LEVEL=DEBUG\nLOG_FORMAT=json\n"
    )
    server.start()
    with httpx.Client(base_url=server.url, trust_env=False, timeout=60) as http:
        form = {"name": "Ann", "email": "ann@example.com", "password": "a password of some length"}
        assert http.post("/api/v1/auths/signup", json=form).status_code == 200
    assert (Path(server.folder) / "data" / "webui.db").exists()
    lines = [json.loads(line) for line in server.log.splitlines() if line.startswith("{")]
    named = [line["names"] for line in lines if "no effect" in line["event"]]
    assert named == ["WEBUI_AUTH"]
    assert [line["level"] for line in lines if "WEBUI_SECRET_KEY is short" in line["event"]] == ["warning"]
    assert "your-secret-key" not in server.log


def test_a_usual_start_warns_of_nothing(make_server: MakeServer) -> None:
    server = make_server().start()
    assert "warning" not in server.log


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"WEBUI_SECRET_KEY": "short"}, "at least 8 characters"),
        ({"MAIN_LOG_LEVEL": "LOUD"}, "MAIN_LOG_LEVEL: must be one of DEBUG"),
        ({"HOST": "no.such.host.invalid"}, "HOST must be an address of this machine"),
        ({"HOST": "192.0.2.1"}, "HOST must be an address of this machine"),
    ],
)
def test_bad_values_say_what_to_do(make_server: MakeServer, environment: dict[str, str], said: str) -> None:
    sentence = refused(make_server(**environment))
    assert said in sentence
    assert "uses the port" not in sentence


@pytest.mark.parametrize(("level", "shown"), [("DEBUG", True), ("WARNING", False)])
def test_the_level_of_the_servers_lines(make_server: MakeServer, level: str, shown: bool) -> None:
    server = make_server(MAIN_LOG_LEVEL=level, GLOBAL_LOG_LEVEL="ERROR" if shown else "DEBUG")
    server.from_nothing = True
    server.start()
    assert ("database migrated" in server.log) is shown
