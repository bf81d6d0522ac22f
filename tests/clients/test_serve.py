"""Other people's clients of `llamaforge serve`: litellm, langchain-openai and instructor, in an environment of their own.

test.sh makes it, from tests/clients/requirements.txt: some of them want another openai than ours. The clients of OpenAI
and Anthropic are in tests/llamaforge/test_server_apis.py.
"""

import re
import subprocess

import pytest

from llamaforge.forge import LlamaForge
from llamaforge.server import ApiServer
from tests.support.process import ROOT, clean_environment
from tests.support.tiny_gguf import write_gguf

PYTHON = ROOT / ".venv-clients" / "bin" / "python"
SCRIPT = ROOT / "tests" / "clients" / "other_clients.py"
CALL = '<tool_call>\n{"name": "Weather", "arguments": {"city": "Berlin"}}\n</tool_call>'


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_clients_get_what_they_ask_for(tmp_path):
    assert PYTHON.exists(), "There is no .venv-clients: start ./test.sh once, which makes it."
    forge = LlamaForge(":memory:")
    llama = {"n_threads": 1, "n_ctx": 2048, "temperature": 0}
    forge.add_model("tiny", write_gguf(tmp_path / "tiny.gguf"), parameters=llama)
    forge.add_model("tool", write_gguf(tmp_path / "tool.gguf", says=CALL), parameters=llama)
    forge.add_model("vectors", write_gguf(tmp_path / "vectors.gguf"), parameters={**llama, "embedding": True})
    with ApiServer(forge, port=0) as server:
        ran = subprocess.run(
            [PYTHON, "-W", "ignore", SCRIPT, server.url], check=False, capture_output=True, text=True, timeout=220,
            env=clean_environment(),
        )  # fmt: skip
    assert ran.returncode == 0, ran.stdout + ran.stderr[-4000:]
    checks = re.findall(r"^def (\w+)\(\) -> None:", SCRIPT.read_text(), re.MULTILINE)
    assert sorted(ran.stdout.split()) == sorted(checks)
