"""The registry of backends, the errors, and what importing the package costs."""

# ruff: noqa: ARG002 -- backends must take the arguments of the interface
import subprocess
import sys
from pathlib import Path

import pytest

import llamaforge
from llamaforge import backends
from llamaforge.backends import get_backend, list_backends, register_backend
from llamaforge.backends.base import BackendInfo, BaseBackend

SOURCE = Path(llamaforge.__file__).parents[1]
BUILT_IN = ["llama.cpp", "huggingface", "openai", "eliza"]


class Parrot(BaseBackend):
    """A user's backend with the four documented methods, written as the documentation shows, and nothing else."""

    def __init__(self):
        super().__init__()
        self.model = None

    def load_model(self, model_path, parameters=None):
        self.model = model_path

    def generate(self, prompt, parameters=None):
        if self.model is None:
            raise RuntimeError("No model loaded")
        return prompt.upper()

    def generate_stream(self, prompt, parameters=None):
        yield from self.generate(prompt, parameters).split("\n")

    def is_model_loaded(self):
        return self.model is not None


@pytest.fixture(autouse=True)
def _own_registry(monkeypatch):
    monkeypatch.setattr(backends, "_registry", dict(backends._registry))


def test_what_is_built_in():
    assert list_backends() == BUILT_IN
    assert [get_backend(name).__name__ for name in BUILT_IN] == [
        "LlamaCppBackend",
        "HuggingFaceBackend",
        "OpenAIBackend",
        "ElizaBackend",
    ]


def test_get_backend_gives_the_class():
    cls = get_backend("eliza")
    assert isinstance(cls, type)
    assert cls.__name__ == "ElizaBackend"
    assert issubclass(cls, BaseBackend)
    assert get_backend("eliza") is cls
    assert list_backends() == BUILT_IN


@pytest.mark.parametrize("name", ["llamacpp", "", "ELIZA", "eliza "])
def test_an_unknown_name_is_told_what_there_is(name):
    with pytest.raises(llamaforge.BackendNotFoundError, match=r"Available: llama\.cpp, huggingface, openai, eliza"):
        get_backend(name)


def test_a_users_backend_needs_only_the_four_methods():
    register_backend("parrot", Parrot)
    assert list_backends() == [*BUILT_IN, "parrot"]
    parrot = get_backend("parrot")()
    with pytest.raises(RuntimeError, match="No model loaded"):
        parrot.generate("hello")
    assert parrot.info() == BackendInfo(name="Parrot", loaded=False)

    parrot.load_model("/some/where")
    messages = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hello"}]
    assert parrot.chat(messages) == "SYSTEM: BE BRIEF\nUSER: HELLO\nASSISTANT:"
    assert list(parrot.chat_stream(messages)) == ["SYSTEM: BE BRIEF", "USER: HELLO", "ASSISTANT:"]
    assert parrot.info().loaded
    parrot.unload()


def test_a_class_that_only_looks_like_a_backend_is_welcome():
    class Duck:
        load_model = generate = generate_stream = is_model_loaded = lambda *_: None

    register_backend("duck", Duck)
    assert get_backend("duck") is Duck


def test_registering_a_name_again_replaces_it_in_its_place():
    register_backend("parrot", Parrot)
    register_backend("eliza", Parrot)
    assert list_backends() == [*BUILT_IN, "parrot"]
    assert get_backend("eliza") is Parrot


class Mute:
    def load_model(self, model_path, parameters=None): ...


@pytest.mark.parametrize(
    ("name", "cls", "sentence"),
    [
        ("", Parrot, "not blank"),
        ("  ", Parrot, "not blank"),
        (None, Parrot, "must be text"),
        ("parrot", Parrot(), "must be a class"),
        ("parrot", lambda: None, "must be a class"),
        ("mute", Mute, "lacks generate, generate_stream, is_model_loaded"),
    ],
)
def test_what_cannot_be_registered(name, cls, sentence):
    with pytest.raises(llamaforge.ParameterError, match=sentence):
        register_backend(name, cls)
    assert list_backends() == BUILT_IN


def test_a_subclass_without_the_four_methods_cannot_be_made():
    class Half(BaseBackend):
        def generate(self, prompt, parameters=None):
            return ""

    with pytest.raises(TypeError, match="load_model"):
        Half()


@pytest.mark.parametrize(
    ("error", "known_as"),
    [
        (llamaforge.BackendNotFoundError, ValueError),
        (llamaforge.ModelNotFoundError, LookupError),
        (llamaforge.ModelLoadError, RuntimeError),
        (llamaforge.ModelNotLoadedError, RuntimeError),
        (llamaforge.ParameterError, ValueError),
    ],
)
def test_errors_have_one_root_and_their_old_names(error, known_as):
    assert issubclass(error, llamaforge.LlamaForgeError)
    assert issubclass(error, known_as)


def test_everything_exported_is_there():
    assert all(hasattr(llamaforge, name) for name in llamaforge.__all__)


def test_importing_is_quick_and_brings_no_engine():
    program = (
        "import sys, time; before = set(sys.modules); start = time.process_time(); import llamaforge; "
        "spent = time.process_time() - start; print(spent); print(*set(sys.modules) - before)"
    )
    times, modules = [], set()
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(SOURCE)!r}); {program}"],
            capture_output=True,
            text=True,
            check=True,
        )
        spent, names = done.stdout.splitlines()
        times.append(float(spent))
        modules |= set(names.split())
    assert min(times) < 0.05
    ours = {name for name in modules if name.startswith("llamaforge")}
    assert ours == {"llamaforge", "llamaforge.backends", "llamaforge.exceptions"}
    roots = {name.partition(".")[0] for name in modules} - {"llamaforge"}
    assert roots <= sys.stdlib_module_names


def test_the_backend_brings_only_the_standard_library_and_the_library_of_events():
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); before = set(sys.modules); "
        "from llamaforge import get_backend; get_backend('eliza'); print(*set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    roots = {name.partition(".")[0] for name in done.stdout.split()} - {"llamaforge", "msgspec", "typing_extensions"}
    assert roots <= sys.stdlib_module_names


def test_no_class_brings_its_engine_before_a_model_is_loaded():
    program = (
        f"import sys; sys.path.insert(0, {str(SOURCE)!r}); from llamaforge import get_backend, list_backends\n"
        "for name in list_backends(): get_backend(name)()\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True)
    assert {"xllamacpp", "torch", "transformers", "openai", "httpx", "numpy"}.isdisjoint(done.stdout.split())
