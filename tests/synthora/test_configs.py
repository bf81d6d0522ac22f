"""Configurations in real YAML files, and mistakes told by their key."""

import pytest

from synthora import configs, models
from synthora.configs import ModelConfig, create_model_from_config
from synthora.exceptions import ConfigError
from synthora.messages import user
from synthora.types import ModelBackendType, Node, NodeType
from tests.support.script import fixed_text

MODEL = """
name: helper
model_type: fixed
backend: openai_chat
backend_config: {{api_key: sk-yaml, base_url: "{url}", max_retries: 0}}
config:
  temperature: 0.2
  max_tokens: 3
  stream: true
  prices: !include prices.yaml
"""


def write(folder, text, name="model.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_model_from_yaml(tmp_path, upstream):
    write(tmp_path, "fixed: {input: 1, output: 2.5}", "prices.yaml")
    config = ModelConfig.load(write(tmp_path, MODEL.format(url=upstream.openai_url)))
    assert config.backend is ModelBackendType.OPENAI_CHAT
    agent = Node(name="agent", type=NodeType.AGENT)
    backend = create_model_from_config(config, agent)
    assert (backend.name, backend.source.ancestor, backend.stream) == ("helper", agent, True)
    last = list(backend.run(user("x")))[-1]
    assert last.content == fixed_text(3)
    assert last.metadata["cost"] == pytest.approx((7 + 7.5) / 1e6)
    assert upstream.chats[0].headers["Authorization"] == "Bearer sk-yaml"
    assert upstream.chats[0].body["temperature"] == 0.2
    backend.close()


def test_every_backend_can_be_named(tmp_path, tiny_gguf):
    azure = {"api_key": "k", "azure_endpoint": "http://127.0.0.1", "api_version": "1"}
    options = {
        "openai_chat": {"api_key": "k"}, "openai_completion": {"api_key": "k"}, "azure_chat": azure,
        "azure_completion": azure, "anthropic": {"api_key": "k"}, "gemini": {"api_key": "k"},
        "llamaforge": {"config_path": str(tmp_path / "c.json")},
        "scripted": {"answers": ["yes"]},
    }  # fmt: skip
    assert set(options) == {kind.value for kind in ModelBackendType} == {kind.value for kind in models.BACKEND_MAP}
    loaded = [
        ModelConfig.load({"model_type": str(tiny_gguf), "backend": kind, "backend_config": given})
        for kind, given in options.items()
    ]
    made = create_model_from_config(loaded)
    assert [backend.backend_type.value for backend in made] == list(options)
    assert made[-1].run(user("x")).content == "yes"
    local = made[-2]
    assert local.run(user("x"), temperature=0).content == "Hello from the tiny test model."
    local.close()
    assert configs.create_model_from_config is models.create_model_from_config


def test_files_in_files(tmp_path):
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts", "\n  be brief  \n", "stop.txt")
    write(tmp_path / "parts", "{temperature: 1, stop: !file stop.txt}", "config.yaml")
    config = ModelConfig.load(write(tmp_path, "model_type: m\nconfig: !include parts/config.yaml"))
    assert config.config == {"temperature": 1, "stop": "be brief"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name: x", "'model_type' is missing"),
        ("model_type: m\nmodle: x", "'modle' is unknown"),
        ("model_type: m\nbackend: openai", "'backend': Input should be 'openai_chat'"),
        ("model_type: [m]", "'model_type': Input should be a valid string"),
        ("model_type: m\nconfig: fast", "'config': Input should be a valid dictionary"),
        ("- model_type: m", "has keys and values"),
        ("", "has keys and values"),
        ("model_type: {", "is no YAML"),
        ("model_type: !!python/object/apply:os.getcwd []", "is no YAML"),
        ("model_type: !prompt Vanilla", "is no YAML"),
        ("config: !include model.yaml", "includes itself"),
        ("config: !include [a]", "is no YAML"),
        ("config: !include .", "is no file"),
    ],
)
def test_mistakes_name_their_key(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words) as raised:
        ModelConfig.load(write(tmp_path, text))
    assert isinstance(raised.value, ValueError)
    if "'" in words:
        assert "model.yaml: " in str(raised.value)


def test_what_is_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file"):
        ModelConfig.load(tmp_path / "nosuch.yaml")
    with pytest.raises(ValueError, match="is no file"):
        ModelConfig.load(tmp_path)
    with pytest.raises(TypeError, match="not from int"):
        ModelConfig.load(3)
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        ModelConfig.load(tmp_path / "binary.yaml")
    with pytest.raises(ConfigError, match="'model_type' is missing"):
        ModelConfig.from_dict({})


def test_options_that_a_backend_does_not_take():
    for kind, option in (("openai_chat", "url"), ("scripted", "answer"), ("llamaforge", "path")):
        given = {"api_key": "k"} if kind == "openai_chat" else {}
        config = ModelConfig(model_type="m", backend=kind, backend_config={**given, option: "x"})
        with pytest.raises(ConfigError, match=f"'backend_config' of 'm'.*'{option}'"):
            create_model_from_config(config)


def test_a_missing_key():
    with pytest.raises(ValueError, match="API Key is required"):
        create_model_from_config(ModelConfig(model_type="gpt-4o"))
