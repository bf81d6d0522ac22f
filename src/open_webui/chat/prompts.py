"""What a model is asked for a title, tags and follow-up questions, with the placeholders that custom prompts may use."""

import json
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from llamaforge.events import Text
from llamaforge.events.harmony import Channels
from open_webui.chat.thinking import THINK_TAGS

TITLE: Final = """Write a title for the conversation below: three to five words in its language, plain text, an emoji in
front if one fits well. No quotation marks, no full stop.
Answer with JSON only: an object whose "title" is the title.

<conversation>
{{MESSAGES:END:2}}
</conversation>"""

TAGS: Final = """Name one to three general subjects of the conversation below (such as Science, Technology, Arts, Health,
Travel), and one or two specific ones if they are clear. Use the language of the conversation. If it is too short or mixed
to tell, answer with the one tag General.
Answer with JSON only: an object whose "tags" is the list of subjects, each of one or two words.

<conversation>
{{MESSAGES:END:6}}
</conversation>"""

FOLLOW_UPS: Final = """Suggest three to five short questions or requests that the person could send next in the
conversation below, written from the person's point of view, in its language, leading further and repeating nothing.
Answer with JSON only: an object whose "follow_ups" is the list of questions.

<conversation>
{{MESSAGES:END:6}}
</conversation>"""


def shape(key: str, *, most: int | None, longest: int, bounded: bool) -> dict[str, Any]:
    """The JSON schema of an answer: a text under `key`, or with `most` a list of texts.

    bounded: with bounds of length and number, which not every provider's schemas may have.
    """
    value: dict[str, Any] = {"type": "string"} | ({"maxLength": longest} if bounded else {})
    if most is not None:
        value = {"type": "array", "items": value} | ({"minItems": 1, "maxItems": most} if bounded else {})
    return {"type": "object", "properties": {key: value}, "required": [key], "additionalProperties": False}


_PLACEHOLDER: Final = re.compile(
    r"\{\{(?:(MESSAGES)(?::(START|END|MIDDLETRUNCATE):(\d{1,6}))?|(prompt)(?::(start|end|middletruncate):(\d{1,6}))?"
    r"|(CURRENT_DATE|CURRENT_TIME|CURRENT_DATETIME|CURRENT_WEEKDAY|USER_NAME))\}\}"
)
_TRAILING_COMMA: Final = re.compile(r",(\s*[\]}])")
_BEGINS: Final = re.compile(r"[\[{]")
# Of an answer to a side question, so much is looked at, in so many places.
_LONGEST_ANSWER: Final = 20_000
_MOST_TRIES: Final = 64
_LONGEST_TITLE: Final = 120
# What a bare title doesn't have: a second line, or JSON.
# What a bare title has before and after it in Markdown, and its name.
_MARKS: Final = re.compile(r"^(?:#+\s*|[-*]\s+)?[*_`]*(?:title:[*_`]*\s*)?[*_`]*|[*_`]+$", re.IGNORECASE)
_ITEM: Final = re.compile(r"^[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]+(\S.*)$", re.MULTILINE)
_NO_TITLE: Final = re.compile(r"[\n{}\[\]<>]|^$")
# A conversation's excerpt for a side task; models for it are small.
MAX_EXCERPT: Final = 24_000


def fill(template: str, messages: Sequence[dict[str, Any]], prompt: str, user_name: str) -> str:
    """The template with its placeholders replaced. messages: role and text of each; prompt: the last question."""

    def replace(match: re.Match[str]) -> str:
        whole, how, count, asked, ask_how, ask_count, plain = match.groups()
        if whole:
            return transcript(_some(messages, how, int(count or 0)))
        if asked:
            return _part(prompt, ask_how, int(ask_count or 0))
        return user_name if plain == "USER_NAME" else _moment(plain)

    return _PLACEHOLDER.sub(replace, template)


def _some(messages: Sequence[dict[str, Any]], how: str | None, count: int) -> Sequence[dict[str, Any]]:
    if how == "START":
        return messages[:count]
    if how == "END":
        return messages[-count:] if count else ()
    if how == "MIDDLETRUNCATE" and len(messages) > count:
        head = count // 2
        return [*messages[:head], *messages[len(messages) - (count - head) :]]
    return messages


def _part(text: str, how: str | None, count: int) -> str:
    if how == "start":
        return text[:count]
    if how == "end":
        return text[-count:] if count else ""
    if how == "middletruncate" and len(text) > count:
        head = count // 2
        return text[:head] + "…" + text[len(text) - (count - head) :]
    return text


def _moment(name: str) -> str:
    formats = {"CURRENT_DATE": "%Y-%m-%d", "CURRENT_TIME": "%H:%M:%S", "CURRENT_WEEKDAY": "%A"}
    return datetime.now(UTC).strftime(formats.get(name, "%Y-%m-%d %H:%M:%S"))


def transcript(messages: Sequence[dict[str, Any]]) -> str:
    """A conversation as text, the newest part of it if it is long."""
    lines = [f"{str(m.get('role', 'user')).upper()}: {plain_text(m.get('content'))}" for m in messages]
    return "\n".join(lines)[-MAX_EXCERPT:]


def plain_text(content: Any) -> str:
    """The text of a message's content, which may be a list of parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(p["text"] for p in content if isinstance(p, dict) and isinstance(p.get("text"), str))
    return ""


def parse(answer: str, key: str) -> Any:
    """The value under `key` in a model's answer, which may have thinking, words or fences around its JSON; None without.

    A list that stands alone is the value, too.
    """
    given = list(values(answer))
    found = next((value[key] for value in given if isinstance(value, dict) and key in value), None)
    return next((value for value in given if isinstance(value, list)), None) if found is None else found


def values(answer: str) -> Iterator[Any]:
    """The JSON objects and lists in a model's answer, without its thinking; those in a list one by one, too."""
    yield from _values(_after_thinking(answer))


def _after_thinking(answer: str) -> str:
    """The answer without the thinking in front of it, which likes to repeat the form that was asked for."""
    channels = Channels()
    read = channels.feed([Text(answer)]) + channels.end()
    answer = "".join(event.text for event in read if isinstance(event, Text))
    ends = [at + len(tag) for tag in THINK_TAGS.values() if (at := answer.rfind(tag)) >= 0]
    return answer[max(ends, default=0) :]


def _values(text: str) -> Iterator[Any]:
    """The JSON objects and lists in a text, in order; a comma too many does no harm."""
    read = json.JSONDecoder(strict=False).raw_decode
    text = _TRAILING_COMMA.sub(r"\1", text[:_LONGEST_ANSWER])
    at, tries = 0, 0
    while (begins := _BEGINS.search(text, at)) is not None and tries < _MOST_TRIES:
        tries += 1
        try:
            value, at = read(text, begins.start())
        except (ValueError, RecursionError):
            at = begins.end()
            continue
        yield value
        if isinstance(value, list):
            yield from (part for part in value if isinstance(part, dict))


def parse_texts(answer: str, key: str, *, most: int, longest: int) -> list[str]:
    """A list of short texts out of a model's answer, also of one in lines; what has another shape is left out."""
    value = parse(answer, key)
    if value is None:
        value = _ITEM.findall(_after_thinking(answer)[:_LONGEST_ANSWER])
    given = [v.strip()[:longest] for v in value if isinstance(v, str)] if isinstance(value, list) else []
    texts = [text for text in given if text and text.isprintable()]
    return list(dict.fromkeys(texts))[:most]


def title_of(answer: str) -> str | None:
    """The title out of a model's answer, which may be the bare title."""
    title = parse(answer, "title")
    if not isinstance(title, str):
        title = _MARKS.sub("", _after_thinking(answer).strip())
        if len(title) > _LONGEST_TITLE or _NO_TITLE.search(title):
            return None
    title = " ".join(title.split())[:_LONGEST_TITLE].strip("\"'")
    return title if title and title.isprintable() else None


def short_title(question: str) -> str:
    """A title from the question itself, where no model gives one."""
    words = " ".join(question.split())
    if len(words) <= 60:
        return words or "New Chat"
    return words[:57].rsplit(" ", 1)[0] + "…"


QUERIES: Final = """Decide whether searching would help to answer the last question of the conversation below. If so,
write one to three short search queries in its language; if it surely would not, write none. Today is {{CURRENT_DATE}}.
Answer with JSON only: {"queries": ["first", "second"]}

<conversation>
{{MESSAGES:END:6}}
</conversation>"""

AUTOCOMPLETE: Final = """Continue the text below as its writer would, in its language and style, with a few words that
fit on one line. Do not repeat it and do not answer it.
Answer with JSON only: {"text": "the continuation"}

<text>
{{prompt}}
</text>"""

EMOJI: Final = """Answer with the one emoji that fits the text below best, and nothing else.

<text>
{{prompt}}
</text>"""

IMAGE: Final = """Write a detailed description of the picture that the conversation below asks for, as a text for an
image generator: subject, setting, light, style.
Answer with JSON only: {"prompt": "the description"}

<conversation>
{{MESSAGES:END:6}}
</conversation>"""


def merge_answers(question: str, answers: Sequence[str]) -> str:
    """The prompt that makes one answer out of several."""
    listed = "\n\n".join(f"<answer {n}>\n{answer}\n</answer {n}>" for n, answer in enumerate(answers, 1))
    return (
        "Several models answered the question below. Write the one best answer out of theirs: keep what is right, leave out"
        f" what is wrong or said twice, and mention none of them.\n\n<question>\n{question}\n</question>\n\n{listed}"
    )
