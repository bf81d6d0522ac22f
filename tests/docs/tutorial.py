"""Pages of the documentation whose commands are run as a reader would: in their order in one shell, against the real server.

A `bash` block writes what the `text` block after it shows, and nothing where there is none; `...` stands for anything.
"""

import re
import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.process import ROOT, clean_environment

MARK = "\036"
FORM = {"name": "You", "email": "you@example.com", "password": "correct horse battery"}


def page(name: str) -> Path:
    return ROOT / "docs" / name


def blocks(page: Path) -> list[tuple[str, str]]:
    """Each block of commands, and what it writes."""
    found = re.findall(r"^```(bash|text)\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    out: list[tuple[str, str]] = []
    for language, text in found:
        if language == "bash":
            out.append((text, ""))
        else:
            out[-1] = (out[-1][0], text)
    return out


def fits(shown: str, written: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, shown.strip().split("..."))), written.strip(), re.DOTALL) is not None


def api_key(url: str) -> str:
    """That of the first administrator, who signs up for it."""
    with httpx.Client(base_url=url, trust_env=False, timeout=30) as http:
        token = http.post("/api/v1/auths/signup", json=FORM).raise_for_status().json()["token"]
        made = http.post("/api/v1/auths/api_key", headers={"Authorization": f"Bearer {token}"})
        return str(made.raise_for_status().json()["api_key"])


def run(page: Path, url: str, folder: Path) -> None:
    """Does what the page says at the server of this address, and compares what is written."""
    command = f'oui-backend() {{ "{sys.executable}" -m open_webui.cli "$@"; }}\n'
    script = command + "".join(f"{code}\nprintf '{MARK}'\n" for code, _ in blocks(page))
    script = script.replace("http://localhost:8080", url).replace("knowledge sync", f"knowledge sync --url {url}")
    environment = clean_environment({"OUI_API_KEY": api_key(url), "DATA_DIR": str(folder / "own")})
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder, env=environment, capture_output=True, text=True, timeout=150, check=False,
    )  # fmt: skip
    for (code, shown), written in zip(blocks(page), done.stdout.split(MARK), strict=False):
        assert fits(shown, written), f"{code}\nwrote\n{written}\n{done.stderr}\nand not\n{shown}"
    assert done.returncode == 0, (done.stdout, done.stderr)
