"""The built-in model answers out of the documentation: which questions, with what, and what is no question to it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from open_webui.config import SETTINGS
from open_webui.connections.local.eliza import ElizaConnection
from open_webui.connections.local.lookup import Manual, anchor, asks
from open_webui.env import Settings
from open_webui.utils import manual
from tests.support.eliza import SAD
from tests.support.live import Actor

ROOT = Path(__file__).resolve().parents[3]
MANUAL = Manual(ROOT)
QUESTIONS, CONFIGURATION = "docs/questions.md", "docs/architecture/configuration.md"

# What a newcomer asks, and the section that answers. Those without a page are sections of the page of questions.
ASKED = {
    "How do I connect a model?": "how-do-i-connect-a-model",
    "how to connect ollama": "how-do-i-connect-ollama",
    "connect to openai": "how-do-i-connect-openai-vllm-lm-studio-or-openrouter",
    "How can I use LM Studio with this?": "how-do-i-connect-openai-vllm-lm-studio-or-openrouter",
    "Where do I put GGUF files?": "how-do-i-run-a-model-on-this-machine",
    "How do I run a local model?": "how-do-i-run-a-model-on-this-machine",
    "Why do my users see no models?": "why-do-other-people-see-no-models",
    "How do I let a model be used by everybody?": "why-do-other-people-see-no-models",
    "What is the built-in model?": "what-is-this-built-in-model",
    "How do I add people?": "how-do-i-add-people",
    "How can I invite my team?": "how-do-i-add-people",
    "How do I create a new user?": "how-do-i-add-people",
    "I want to add my colleagues": "how-do-i-add-people",
    "how do I approve a pending account": "how-do-i-let-in-somebody-who-is-waiting",
    "someone is waiting to be let in, what do I do?": "how-do-i-let-in-somebody-who-is-waiting",
    "Can my family sign up by themselves?": "how-do-i-close-or-open-sign-up",
    "How do I stop people from registering?": "how-do-i-close-or-open-sign-up",
    "How do I make someone an admin?": "how-do-i-make-somebody-an-administrator",
    "How do I delete an account?": "how-do-i-remove-an-account",
    "I forgot my password": "what-if-a-password-is-forgotten",
    "How do I reset the administrator’s password?": "what-if-a-password-is-forgotten",
    "how do I change my password?": "how-do-i-change-my-password",
    "How do I back up the server?": "how-do-i-back-up-and-restore",
    "backup": "how-do-i-back-up-and-restore",
    "How do I restore a backup?": "how-do-i-back-up-and-restore",
    "Where is my data stored?": "where-is-everything-stored",
    "How do I use PostgreSQL instead of SQLite?": "how-do-i-use-postgresql",
    "How can I reach it from other computers?": "how-do-i-reach-the-server-from-other-machines",
    "How do I deploy this with nginx?": "how-do-i-put-it-behind-nginx-caddy-or-another-proxy-with-https",
    "How do I set up HTTPS?": "how-do-i-put-it-behind-nginx-caddy-or-another-proxy-with-https",
    "How do I deploy it?": "how-do-i-deploy-it-as-a-service",
    "how do I run it as a systemd service": "how-do-i-deploy-it-as-a-service",
    "how do I roll back to the older release": "how-do-i-go-back-to-an-older-version",
    "I can't sign in": "why-cant-i-sign-in",
    "How do I update to the latest version?": "how-do-i-update-to-a-new-version",
    "Where can I find all settings?": "where-do-i-find-or-change-a-setting",
    "Where are the logs?": "where-are-the-logs",
    "How do I use the API?": "how-do-i-use-the-api",
    "How do I make an API key?": "how-do-i-make-an-api-key",
    "Is there API documentation?": "where-is-the-documentation-of-the-api",
    "How do I share a chat?": "how-do-i-share-a-chat",
    "How do I search my chats?": "how-do-i-search-my-chats",
    "How do I export my chats?": "how-do-i-export-or-import-chats",
    "Can I import chats from ChatGPT?": "how-do-i-export-or-import-chats",
    "How do I delete a chat?": "how-do-i-delete-archive-or-rename-a-chat",
    "How do I edit a message?": "how-do-i-edit-a-message-or-get-another-answer",
    "How do I stop an answer?": "how-do-i-stop-an-answer",
    "Is there a dark mode?": "how-do-i-switch-to-dark-mode",
    "what keyboard shortcuts are there?": "which-keyboard-shortcuts-does-the-page-have",
    "Do I lose the answer if I close the tab?": "is-an-answer-lost-when-i-close-the-tab",
    "Can I use the Open WebUI frontend?": "can-i-use-another-page-such-as-open-webuis",
    "Does it support RAG?": "how-do-i-ask-about-documents-rag",
    "Is there a docker image?": "what-is-not-there-yet-such-as-pictures-or-a-docker-image",
    "why won't the server start?": "why-does-the-server-not-start",
    "Why do answers only show after a reload?": "why-do-answers-appear-only-after-a-reload",
    "How much memory does it need?": "what-does-it-cost-in-memory-and-how-many-people-can-use-it",
    "How do I install it?": "how-do-i-install-it-and-what-does-it-need",
    "What licence is it?": "what-licence-does-it-have",
    # Settings by what they do.
    "How do I change the port?": f"{CONFIGURATION}#PORT",
    "How long does a session last?": f"{CONFIGURATION}#JWT_EXPIRES_IN",
    "what is the largest request?": f"{CONFIGURATION}#MAX_BODY_MB",
    "How do I change the name of this server?": f"{CONFIGURATION}#WEBUI_NAME",
    "how can I disable title generation": f"{CONFIGURATION}#ENABLE_TITLE_GENERATION",
    "how do I turn off follow-up questions": f"{CONFIGURATION}#ENABLE_FOLLOW_UP_GENERATION",
    "when is a local model unloaded?": f"{CONFIGURATION}#LOCAL_MODELS_IDLE_SECONDS",
    "How do I set a default model for new chats?": f"{CONFIGURATION}#DEFAULT_MODELS",
    "Which origins may call the API?": f"{CONFIGURATION}#CORS_ALLOW_ORIGIN",
    "How do I hide the login form?": f"{CONFIGURATION}#ENABLE_LOGIN_FORM",
    "which permissions are there": f"{CONFIGURATION}#permissions",
    # How it is built.
    "How do moods work?": "docs/architecture/chat_turn.md#moods",
    "What is the gate?": "docs/architecture/connections.md#the-gate",
    "What is a blob?": "docs/architecture/storage.md#files-and-blobs",
}
TALKED = """\
I feel sad about my backup of plans
How are you?
Why am I so sad?
What is the meaning of life?
Do you remember my name?
Are you a computer?
Can I talk to you about my problems?
How do I get over my ex?
Why does my mother hate me?
Can you help me?
What should I do?
I want to sleep
I need a holiday
I want to be a better person
I can't stop thinking
Hello
Who are you?
What do you think about people?
Why do people lie?
How do I make friends?
I want to change my life
How can I change?
Can people change?
Should I quit my job?
I can't connect with people
I lost my key
I lost my dog
My friends keep secrets
I had a chat with my boss about passwords
What is the capital of France?
How do I cook rice?
Can you write a poem about the sea?
Tell me a joke
Show me how to read a CSV file in Python and sum one column.
Explain how tides work, as if to a curious ten-year-old.
Write a short, friendly e-mail that moves a meeting to next week.
Plan a quiet weekend in a city by the sea, on a small budget.
yes
no
maybe
hm
I have lost all hope
When will it stop?
How do I share my secrets?
I want to delete everything and start again
I need to restore my confidence
How do I keep my memory sharp?
Why do I always make the same mistakes?
Мне грустно
?
...""".splitlines()


PIECES = "how do i ? reset ( [ \\ * + . pass-word's _ A_B é 1".split()


def place(question: str) -> str | None:
    section = MANUAL.find(question)
    return section and f"{section.page}#{section.anchor}"


@pytest.mark.parametrize("question", ASKED)
def test_a_question_finds_its_section(question: str) -> None:
    expected = ASKED[question]
    assert place(question) == (expected if "#" in expected else f"{QUESTIONS}#{expected}")


@pytest.mark.parametrize("said", TALKED)
def test_who_just_talks_gets_no_documentation(said: str) -> None:
    assert MANUAL.find(said) is None


def test_every_setting_is_found_by_its_name() -> None:
    names = [name.upper() for name in Settings.model_fields] + [name for each in SETTINGS for name in each.variables]
    for name in names:
        for question in (f"What does {name} do?", name) if "_" in name else (f"What is the setting {name}?",):
            section = MANUAL.find(question)
            assert section is not None, name
            if "_" in name:
                assert (section.page, name in section.title.split()) == (CONFIGURATION, True)
                assert f"`{name}`" in (MANUAL.answer(question) or "")


def test_every_question_of_the_page_finds_itself() -> None:
    heads = re.findall(r"^## (.+)$", (ROOT / QUESTIONS).read_text(encoding="utf-8"), re.MULTILINE)
    assert len(heads) >= 40
    assert [head for head in heads if place(head) != f"{QUESTIONS}#{anchor(head)}"] == []


def test_an_answer_has_a_sentence_and_a_link_that_leads_somewhere() -> None:
    for question in ASKED:
        text = MANUAL.answer(question)
        assert text is not None
        assert 20 < len(text) < 1100, text
        for page, _, mark in re.findall(r"\]\(/static/manual\.html\?([^)#]+)(#([^)]+))?\)", text):
            assert (ROOT / page).exists(), text
            if page.endswith(".md"):
                source = (ROOT / page).read_text(encoding="utf-8")
                heads = {anchor(head) for head in re.findall(r"^#+ (.+)$", source, re.MULTILINE)}
                assert not mark or mark in heads or f"`{mark}`" in source, text
        assert len(re.findall(r"\]\(", text)) == len(re.findall(r"\]\((?:/static/manual\.html\?|https?://)", text)), (
            text
        )


def test_an_answer_in_full() -> None:
    assert MANUAL.answer("what is the largest request?") == (
        "`MAX_BODY_MB`: largest request, in MB. Default: `100`.\n\n"
        "From the documentation: [MAX_BODY_MB](/static/manual.html?docs/architecture/configuration.md#MAX_BODY_MB)"
    )


def test_code_tables_and_long_paragraphs_are_told_in_short(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# Top\n\nNothing.\n", encoding="utf-8")
    table = (
        "| fruit | colour |\n| --- | --- |\n"
        + "".join(f"| fruit{n} | plain |\n" for n in range(9))
        + "| plum | blue |\n"
    )
    (tmp_path / "docs" / "a.md").write_text(
        f"# Fruits\n\n{table}\n## Trees\n\nTrees are felled.\n\n```\n# no heading\nfell(trees)\n```\n\n## Long\n\n"
        + "A long sentence. " * 90
        + "\n\n## Oaks\n\n```\nonly_code(oaks)\n```\n",
        encoding="utf-8",
    )
    pages = Manual(tmp_path)
    plum = pages.answer("Which colour has the plum fruit?") or ""
    assert "| plum | blue |" in plum
    assert plum.count("\n|") == 4
    trees = pages.answer("trees") or ""
    assert trees.startswith("Trees are felled.\n\nFrom the documentation: [Trees](")
    assert len(pages.answer("long sentence") or "") < 800
    assert "only_code(oaks)" in (pages.answer("oaks") or "")
    assert pages.find("no heading") is None


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    st.one_of(
        st.text(max_size=80),
        st.lists(st.sampled_from("how do i ? reset ( [ \\ * + . pass-word's _ A_B é 1".split())).map(" ".join),
    )
)
def test_whatever_is_asked_is_no_fault(text: str) -> None:
    answer = MANUAL.answer(text)
    assert answer is None or answer.strip()


@pytest.mark.parametrize("text", ["how " * 1_000_000, "A_B" * 100_000, "?" * 301, "not " * 80 + "?"])
def test_a_long_text_is_no_question(text: str) -> None:
    assert MANUAL.find(text) is None


def test_asking_is_told_from_talking_without_the_pages() -> None:
    assert asks("How do I add people?")
    assert asks("What about WEBUI_NAME? I feel lost")
    assert not asks("I feel lost. How do I add people?")
    assert not asks("My house is blue and large")


# ---- through the server


@pytest.fixture
def connections() -> None:
    """Nothing is connected, so the built-in model is there."""


def test_the_documentation_is_found_beside_the_sources() -> None:
    assert manual.folder() == ROOT


def test_a_wheel_brings_the_documentation_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import tomllib

    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    package = tmp_path / "site-packages" / "open_webui"
    assert {(ROOT / name).exists() for name in wheel["force-include"]} == {True}
    for name, target in wheel["force-include"].items():
        place = tmp_path / "site-packages" / target
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(ROOT / name)
    monkeypatch.setattr(manual, "PACKAGE", package)
    assert manual.folder() == package / "manual"
    assert Manual(package / "manual").find("backup") is not None
    monkeypatch.setattr(manual, "PACKAGE", tmp_path / "elsewhere" / "open_webui")
    assert manual.folder() is None


@pytest.mark.parametrize(
    ("name", "is_part"),
    [
        ("README.md", True), ("CHANGELOG.md", True), ("docs/questions.md", True), ("docs/images/chat.png", True),
        (".env", False), ("data/webui.db", False), ("pyproject.toml", False), ("src/open_webui/env.py", False),
        ("docs/../data/notes.md", False), ("docs/../README.md", False), ("docs/x.py", False), ("docs", False), ("", False),
        ("NOTES.md", False), ("/README.md", False), ("docs\\..\\x.md", False),
    ],
)  # fmt: skip
def test_what_is_a_part_of_the_documentation(name: str, is_part: bool) -> None:
    assert manual.is_part(name) is is_part


async def ask(actor: Actor, *texts: Any, stream: bool = False) -> str:
    body = {"model": "eliza", "messages": [{"role": "user", "content": text} for text in texts], "stream": stream}
    reply = await actor.client.post("/api/chat/completions", json=body)
    assert reply.status_code == 200, reply.text
    if not stream:
        return str(reply.json()["choices"][0]["message"]["content"])
    chunks = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


async def test_the_built_in_model_answers_from_the_documentation_and_else_listens(user: Actor) -> None:
    answer = await ask(user, "I am sad", "How do I add people?")
    assert answer == MANUAL.answer("How do I add people?")
    assert await ask(user, "How do I add people?", stream=True) == answer
    assert await ask(user, [{"type": "text", "text": "How do I add people?"}]) == answer
    assert await ask(user, "I am sad") == SAD
    assert await ask(user, "How do I add people?", "I am sad") != answer


@pytest.mark.parametrize("what", ["missing", "unreadable"])
async def test_without_documentation_it_listens(
    user: Actor, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_bytes(b"\xff")
    monkeypatch.setattr(manual, "folder", lambda: None if what == "missing" else tmp_path)
    assert (await ask(user, "How do I add people?")).startswith("What would be a good answer to that?")


@pytest.mark.parametrize("messages", [[], [{}], ["x"], [{"role": "user", "content": 3}], [{"role": "user"}], [None]])
async def test_odd_messages_are_the_backends_to_refuse(messages: list[Any]) -> None:
    assert await ElizaConnection(0.0)._looked_up(messages) is None
