"""The person who asked: some questions, answered on their page while the answer waits."""

from typing import Any, Final

from open_webui.errors import BadRequest
from open_webui.services.builtin.row import Use

MOST: Final = 10
MOST_OPTIONS: Final = 10
_LONGEST: Final = 2_000
# Milliseconds that a person has.
_WAIT: Final = 300_000
_LONGEST_WAIT: Final = 600_000
_LONGEST_ANSWER: Final = 20_000


async def ask(use: Use) -> dict[str, Any]:
    """What the person says: for each question the option that was chosen, or a text of their own."""
    allow_other = use.flag("allow_other", default=True)
    questions = _questions(use.arguments.get("questions"), allow_other=allow_other)
    wait = use.number("timeout_ms", _WAIT, least=5_000, most=_LONGEST_WAIT)
    data = {"questions": questions, "allow_other": allow_other, "timeout_ms": wait}
    given = await use.progress.ask("request:user_input", data, seconds=wait / 1000)
    answers = given.get("answers") if isinstance(given, dict) else None
    if not isinstance(answers, dict) or given.get("status") != "answered":
        return {
            "status": "cancelled",
            "answers": {},
            "note": "The person did not answer. Go on without, or ask in the text.",
        }
    return {"status": "answered", "answers": _read(questions, answers)}


def _questions(given: Any, *, allow_other: bool) -> list[dict[str, Any]]:
    """The questions as pages show them. Raises BadRequest."""
    if not isinstance(given, list) or not 0 < len(given) <= MOST:
        raise BadRequest(f"'questions' should be a list of 1 to {MOST} questions.")
    out: dict[str, dict[str, Any]] = {}
    for n, said in enumerate(given, 1):
        one = {"question": said} if isinstance(said, str) else said
        text = one.get("question") if isinstance(one, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise BadRequest(f"Question {n} should have a text as its 'question'.")
        options = _options(one.get("options"), n)
        key = one.get("id")
        key = key[:100] if isinstance(key, str) and key and key[:100] not in out else f"question_{n}"
        header = one.get("header")
        shown = {
            "id": key,
            "header": header[:80] if isinstance(header, str) and header.strip() else f"Question {n}",
            "question": text.strip()[:_LONGEST],
            "options": options,
        }
        own = one.get("allow_other")
        # Without options there is nothing but a text of one's own.
        out[key] = shown | {"allow_other": True if not options else own if isinstance(own, bool) else allow_other}
    return list(out.values())


def _options(given: Any, n: int) -> list[dict[str, str]]:
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > MOST_OPTIONS:
        raise BadRequest(f"Question {n} should have a list of at most {MOST_OPTIONS} 'options'.")
    out = []
    for said in given:
        one = {"label": said} if isinstance(said, str) else said
        label = one.get("label") if isinstance(one, dict) else None
        if not isinstance(label, str) or not label.strip():
            raise BadRequest(f"Each option of question {n} should have a text as its 'label'.")
        description = one.get("description")
        shown = description[:_LONGEST] if isinstance(description, str) else ""
        out.append({"label": label.strip()[:200], "description": shown})
    return out


def _read(questions: list[dict[str, Any]], answers: dict[str, Any]) -> dict[str, str]:
    """What was said, by the ids of the questions; what a page says besides is left out."""
    out = {}
    for question in questions:
        said = answers.get(question["id"])
        text = said.get("text") or said.get("label") if isinstance(said, dict) else said
        if isinstance(text, str) and text.strip():
            out[question["id"]] = text.strip()[:_LONGEST_ANSWER]
    return out
