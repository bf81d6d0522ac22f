"""Names of models and prompts on the command line: pull, cp, rm, show, alias, template; and benchmark --parallel."""
# ruff: noqa: ARG002 -- backends must take the arguments of the interface

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from llamaforge import LlamaForge, hub
from llamaforge.backends import register_backend
from llamaforge.cli import app
from llamaforge.config import Config
from llamaforge.exceptions import ParameterError
from tests.support import tiny_gguf
from tests.support.upstream import Upstream


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, upstream: Upstream) -> Path:
    """A configuration whose model `m` says what it is asked, and a file of this machine."""
    for name in [name for name in os.environ if name.startswith(("LLAMAFORGE_", "OPENAI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LLAMAFORGE_CONFIG_PATH", str(tmp_path / "config.json"))
    monkeypatch.setenv("LLAMAFORGE_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "ollama"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    config = Config()
    config.add_model("m", "echo", "openai", {"api_base": upstream.openai_url, "max_retries": 0, "api_key": "sk-x"})
    config.save()
    return tmp_path


def call(*args: str, typed: str | None = None) -> Result:
    return CliRunner().invoke(app, list(args), input=typed)


def said(*args: str, typed: str | None = None) -> str:
    result = call(*args, typed=typed)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout


def failed(*args: str, code: int = 1, typed: str | None = None) -> str:
    result = call(*args, typed=typed)
    assert (result.exit_code, result.stdout) == (code, "")
    return result.stderr


def as_pulled(home: Path, name: str, content: bytes, parameters: dict[str, Any] | None = None) -> None:
    """A model as Ollama keeps one."""
    layers = []
    for kind, data in (("model", content), ("params", json.dumps(parameters or {}).encode())):
        digest = hashlib.sha256(data).hexdigest()
        blob = home / "ollama" / "blobs" / f"sha256-{digest}"
        blob.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        layers.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}"})
    manifest = home / "ollama/manifests/registry.ollama.ai/library" / name.replace(":", "/")
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))


# ---- pull


def test_pull_takes_ollamas_names_and_brings_up_to_date(home: Path) -> None:
    as_pulled(home, "llama3.2:1b", tiny_gguf.write_gguf(home / "a.gguf").read_bytes(), {"temperature": 0.5})
    result = call("pull", "llama3.2:1b")
    assert (result.exit_code, result.stderr) == (0, "Ollama has pulled llama3.2:1b; its file is used where it lies.\n")
    assert result.stdout.startswith("Added llama3.2:1b: ")
    said("config", "set", "models.llama3.2:1b.parameters.top_k", "7")
    as_pulled(home, "llama3.2:1b", tiny_gguf.write_gguf(home / "a.gguf", says="A newer one.").read_bytes())
    assert call("pull", "llama3.2:1b").exit_code == 0
    assert said("run", "llama3.2:1b", "-t", "0", "Hi") == "A newer one.\n"
    assert Config().get_model("llama3.2:1b")["parameters"]["top_k"] == 7  # type: ignore[index]
    assert call("pull", "llama3.2:1b", "mine", "--default").exit_code == 0
    assert Config().get("default_model") == "mine"


def test_pull_replaces_nothing_that_was_added_by_hand(home: Path) -> None:
    as_pulled(home, "m:latest", tiny_gguf.write_gguf(home / "a.gguf").read_bytes())
    assert "There is already a model 'm', echo. Give --replace" in failed("pull", "m")


@pytest.mark.parametrize(
    ("words", "source", "name"),
    [
        ("llama3.2:1b", "ollama:llama3.2:1b", "llama3.2:1b"),
        ("llama3.2", "ollama:llama3.2", "llama3.2"),
        ("llama3.2:latest", "ollama:llama3.2:latest", "llama3.2"),
        ("owner/name:tag", "ollama:owner/name:tag", "owner/name:tag"),
        ("ollama:x", "ollama:x", "x"),
        ("hf.co/owner/repo-GGUF", "hf:owner/repo-GGUF", "repo-GGUF"),
        ("https://huggingface.co/owner/repo", "hf:owner/repo", "repo"),
        ("hf:owner/repo/file-Q8_0.gguf", "hf:owner/repo/file-Q8_0.gguf", "file-Q8_0"),
        ("https://example.com/x/model.gguf", "https://example.com/x/model.gguf", "model"),
    ],
)
def test_what_people_give_to_ollama_is_a_source(words: str, source: str, name: str) -> None:
    assert hub.source_of(words) == (source, name)


@pytest.mark.parametrize("words", ["a b", "hf:a/../b", "https://example.com/page", "ftp://x/y.gguf"])
def test_what_cannot_be_pulled(words: str) -> None:
    message = failed("pull", words)
    assert message.startswith("llamaforge: '")
    assert "Traceback" not in message


# ---- cp, rm, show


def test_a_copy_has_parameters_of_its_own() -> None:
    said("alias", "set", "mirror", "m")
    assert said("cp", "m", "n") == "Copied m to n\n"
    said("config", "set", "models.n.parameters.temperature", "0")
    models = Config().config["models"]
    assert models["n"]["parameters"] == {**models["m"]["parameters"], "temperature": 0}
    assert "temperature" not in models["m"]["parameters"]
    assert json.loads(said("alias", "list", "--json")) == {"mirror": "m"}
    assert failed("cp", "m", "n") == "llamaforge: There is already a model 'n'.\n"
    assert "There is no model 'x'" in failed("cp", "x", "y")
    assert failed("cp", "m", " ") == "llamaforge: The name of a model must be text that is not blank.\n"


def test_rm_forgets_and_deletes_only_its_own(home: Path) -> None:
    file = tiny_gguf.write_gguf(home / "models" / "own.gguf")
    outside = tiny_gguf.write_gguf(home / "outside.gguf")
    for name, path in (("own", file), ("outside", outside)):
        said("add", name, str(path))
    assert failed("rm", "own") == f"llamaforge: {file} would be deleted: give --yes, or --keep-files.\n"
    said("cp", "own", "copy")
    assert "There is no model 'no'" in failed("rm", "--yes", "own", "no")
    assert Config().list_models() == ["m", "own", "outside", "copy"], "all are looked for before one goes"
    assert said("rm", "copy", "outside") == "Removed copy\nRemoved outside\n", "its file is another model's, too"
    assert outside.exists()
    assert said("rm", "own", "--keep-files") == "Removed own\n"
    assert file.exists()
    assert said("rm", "-y", "own.gguf", "own.gguf") == f"Removed own.gguf and deleted {file}\n"
    assert not file.exists()


def test_show_tells_what_the_file_says(home: Path) -> None:
    said("add", "tiny", str(tiny_gguf.write_gguf(home / "tiny.gguf")), "-p", "n_ctx=512")
    said("add", "bare", str(tiny_gguf.write_gguf(home / "bare.gguf", template=None)))
    said("alias", "set", "small", "tiny")
    whole = json.loads(said("show", "tiny", "--json"))
    assert whole["parameters"] == {"n_ctx": 512}
    assert whole["file"]["context_length"] == 4096
    assert whole["file"]["quantisation"] == "F32"
    assert whole["template"] == tiny_gguf.TEMPLATE
    assert said("show", "small", "--template") == f"{tiny_gguf.TEMPLATE}\n"
    shown = said("show", "tiny")
    assert all(word in shown for word in ("quantisation", "context length", '{"n_ctx": 512}', "has chat template"))
    assert tiny_gguf.TEMPLATE not in shown
    assert said("info", "tiny") == shown
    assert "No chat template is known of 'bare'" in failed("show", "bare", "--template")
    assert "No chat template is known of 'm'" in failed("show", "m", "--template")
    assert "sk-x" not in said("show", "m") + said("show", "m", "--json")
    assert "There is no model 'x'" in failed("show", "x")


def test_a_second_add_says_what_to_do(home: Path) -> None:
    file = tiny_gguf.write_gguf(home / "model.gguf")
    said("add", "first", "model.gguf", "--default")
    assert failed("add", "first", "model.gguf") == (
        f"llamaforge: There is already a model 'first', {file}. "
        "Give --replace to put this in its place, or choose another name.\n"
    )
    assert said("add", "first", "model.gguf", "-p", "n_ctx=64", "--replace") == f"Added first: {file} (llama.cpp)\n"
    assert Config().get("models.first.parameters") == {"n_ctx": 64}


# ---- aliases


def test_an_alias_is_another_name(upstream: Upstream) -> None:
    assert call("alias", "list").stderr == "There are no aliases: llamaforge alias set ALIAS MODEL\n"
    said("cp", "m", "n")
    said("alias", "set", "mirror", "m")
    said("alias", "set", "glass", "m")
    assert said("run", "mirror", "hello") == "hello\n"
    assert "> hello" in said("chat", "glass", typed="hello\n")
    assert json.loads(said("alias", "list", "--json")) == {"mirror": "m", "glass": "m"}
    said("alias", "set", "mirror", "n")
    assert said("alias", "list").split() == ["ALIAS", "MODEL", "glass", "m", "mirror", "n"]
    said("alias", "remove", "mirror")
    assert "There is no model 'mirror'" in failed("run", "mirror", "hello")
    assert said("run", "glass", "hello") == "hello\n"


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("set", "m", "m"), "'m' is a model itself."),
        (("set", "  ", "m"), "An alias is not blank."),
        (("set", "x", "mm"), "There is no model 'mm'."),
        (("set", "x", "eliza"), "Only models that were added can have aliases."),
        (("remove", "x"), "There is no alias 'x'."),
        (("remove", "m"), "There is no alias 'm'."),
    ],
)
def test_aliases_that_cannot_be(args: tuple[str, ...], sentence: str) -> None:
    assert sentence in failed("alias", *args)


def test_metadata_of_another_shape_is_no_alias(home: Path) -> None:
    whole = json.loads((home / "config.json").read_text())
    for metadata in ("x", [], {"aliases": "mirror"}, None):
        whole["models"]["m"]["metadata"] = metadata
        (home / "config.json").write_text(json.dumps(whole))
        assert call("alias", "list").exit_code == 0
        assert "There is no model 'mirror'" in failed("run", "mirror", "hello")


# ---- templates


def test_a_template_is_a_prompt_with_variables(upstream: Upstream) -> None:
    assert call("template", "list").stderr == "There are no templates: llamaforge template save NAME PROMPT\n"
    said(
        "template", "save", "sum", "Sum up in $count words, for $$5: $input", "-m", "m", "-s", "Be brief.",
        "-p", "temperature=0", "-p", 'stop=["x"]', "--schema", "name",
    )  # fmt: skip
    assert said("template", "run", "sum", "a", "text", "-v", "count=3") == "Sum up in 3 words, for $5: a text\n"
    body = upstream.chats[-1].body
    assert body["messages"][0] == {"role": "system", "content": "Be brief."}
    assert (body["temperature"], body["stop"]) == (0, ["x"])
    assert body["response_format"]["json_schema"]["schema"]["required"] == ["name"]
    assert (
        said("template", "run", "sum", "-v", "count=$input", typed="piped") == "Sum up in $input words, for $5: piped\n"
    )
    said("template", "save", "plain", "m")
    said("config", "set", "default_model", "m")
    assert said("template", "run", "plain") == "m\n", "a prompt, though there is a model of that name"
    assert json.loads(said("template", "list", "--json")).keys() == {"sum", "plain"}
    assert "Sum up in $count" in said("template", "list")
    assert json.loads(said("template", "show", "plain", "--json")) == {"prompt": "m"}
    assert "Be brief." in said("template", "show", "sum")
    said("template", "remove", "sum")
    assert "There is no template 'sum'." in failed("template", "run", "sum")


def test_templates_are_of_all_profiles() -> None:
    said("config", "create-profile", "work")
    said("config", "set-profile", "work")
    said("template", "save", "t", "x")
    said("config", "set-profile")
    assert said("template", "list").split()[-2:] == ["t", "x"]


@pytest.mark.parametrize(
    ("args", "sentence"),
    [
        (("save", "t", "costs $5"), "A $ that begins no variable is written $$."),
        (("save", "t", "x", "--schema", "a b c"), "is no field of a schema"),
        (("save", "t", "x", "-p", "top_k"), "'top_k' is no parameter"),
        (("run", "greeting"), "There is no template 'greeting'. Did you mean 'greet'?"),
        (("run", "greet", "you"), "The template 'greet' needs name: give -v name=..."),
        (("run", "nameless", "you"), "Name a model by -m, or set a default_model."),
        (("show", "x"), "There is no template 'x'."),
        (("remove", "x"), "There is no template 'x'."),
    ],
)
def test_templates_that_cannot_be(args: tuple[str, ...], sentence: str) -> None:
    said("template", "save", "greet", "Hello $name, $input", "-m", "m")
    said("template", "save", "nameless", "$input")
    before = Config().get_all()
    assert sentence in failed("template", *args)
    assert Config().get_all() == before


# ---- raw


class Recorder:
    """Says in which form it was asked."""

    has_chat_template = True

    def load_model(self, model_path: str, parameters: Any = None) -> None: ...

    def generate(self, prompt: str, parameters: Any = None) -> str:
        return "".join(self.generate_stream(prompt, parameters))

    def generate_stream(self, prompt: str, parameters: Any = None) -> Any:
        yield "raw: "
        yield prompt

    def chat_stream(self, messages: Any, parameters: Any = None) -> Any:
        yield f"chat: {messages[-1]['content']}"

    def is_model_loaded(self) -> bool:
        return True


def test_raw_continues_the_prompt_as_it_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    from llamaforge import backends

    monkeypatch.setattr(backends, "_registry", dict(backends._registry))
    register_backend("recorder", Recorder)
    config = Config()
    config.add_model("r", "/x", "recorder")
    config.save()
    assert said("run", "r", "hi") == "chat: hi\n"
    assert said("run", "r", "--raw", "hi") == "raw: hi\n"


# ---- benchmark


def test_a_benchmark_runs_several_at_a_time(home: Path) -> None:
    said("add", "d", "doctor", "-b", "eliza", "-p", "delay=0.02")
    args = ("benchmark", "-m", "d", "--prompt", "I am sad", "--iterations", "4", "--no-warmup", "--json")
    one = json.loads(said(*args))
    four = json.loads(said(*args, "--parallel", "4"))
    assert (one["parallel"], four["parallel"]) == (1, 4)
    assert len(four["prompts"][0]["runs"]) == 4
    assert four["overall"]["total_tokens"] == one["overall"]["total_tokens"]
    assert one["overall"]["wall_time"] >= one["overall"]["total_time"]
    assert four["overall"]["wall_time"] < four["overall"]["total_time"] / 2
    assert "2 at a time: " in said("benchmark", "-m", "d", "--prompt", "x", "--parallel", "2", "--iterations", "2")
    for bad in ("0", "-1"):
        assert "'parallel' must be a whole number of at least 1." in failed("benchmark", "-m", "d", "--parallel", bad)


def test_figures_keep_the_order_of_the_prompts() -> None:
    with LlamaForge(":memory:") as forge:
        from llamaforge.benchmark import run

        figures = run(forge, "eliza", ["one", "two", "three"], iterations=2, parallel=3, warmup=False)
        assert [item["prompt"] for item in figures["prompts"]] == ["one", "two", "three"]
        assert [len(item["runs"]) for item in figures["prompts"]] == [2, 2, 2]
        with pytest.raises(ParameterError, match="'parallel' must be"):
            run(forge, "eliza", parallel=True)


def test_headers_and_tokens_are_hidden_like_keys() -> None:
    config = Config()
    secrets = {
        "default_headers": {"Authorization": "Bearer sk-h"},
        "default_query": {"code": "sk-q"},
        "api_key": "sk-k",
    }
    config.add_model("secret", "echo", "openai", secrets | {"max_tokens": 7})
    config.set("plugins.config", {"search": {"token": "sk-t", "password": "sk-p", "top_k": 3}})
    config.save()
    for shown in (said("show", "secret"), said("show", "secret", "--json"), said("config", "list")):
        assert "sk-" not in shown
        assert "***" in shown
        assert "7" in shown
    assert '"top_k": 3' in said("config", "list")
    assert "sk-t" in said("config", "list", "--show-keys")


def test_an_alias_where_nothing_was_added(home: Path) -> None:
    (home / "config.json").unlink()
    assert "There is no model 'x'. There are none yet." in failed("alias", "set", "a", "x")
