"""Search over one's chats: titles, and messages through the full-text index; texts that have no words by looking at them all.

The typed text is never query syntax. The words are quoted; the last one matches as a beginning. Of a word with signs, such
as C++, the index knows the letters only: the messages with them are looked at.
"""

import re
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from open_webui import constants
from open_webui.models import chat_lists, tables
from open_webui.models.base import among, clean
from open_webui.models.chat_lists import ListRow
from open_webui.models.chat_rows import visible
from open_webui.models.messages import owner_word
from open_webui.utils import accents

t, message, link, folder = tables.chat, tables.message, tables.chat_tag, tables.folder
MAX_WORDS: Final = 16
SNIPPET: Final = 160
LEAD: Final = 40
# A page is first looked for among so many times as many of the newest chats, as long as they are not more than these.
NEWEST: Final = 2
MOST_NEWEST: Final = 1_000
# Chats lie close together when there are at most so many others between them for each of them.
CLOSE: Final = 8
# Scripts that write no blanks between words; the index knows only the runs between punctuation.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u303f\u3040-\u30ff\u3100-\u31bf\u3400-\u4dbf\u4e00-\u9fff"
    "\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]"
)
_FILTER = re.compile(r"(?<!\S)(tag|pinned|archived|shared|folder):(\S*)", re.IGNORECASE)
SHIFT: Final = constants.MESSAGE_BITS
# PostgreSQL shifts a bigint by an integer only, which a parameter is not.
_BITS: Final[sa.ColumnElement[int]] = sa.literal_column(str(constants.MESSAGE_BITS), sa.Integer)


class Query(msgspec.Struct, frozen=True):
    """What was asked for. A flag is None where the text does not say."""

    words: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    pinned: bool | None = None
    archived: bool | None = None
    shared: bool | None = None

    @property
    def is_unspaced(self) -> bool:
        """Whether the index is of no use: it has no runs of letters for a word, or the word has no letters."""
        return any(_UNSPACED.search(word) or not _has_letters(word) for word in self.words)


class Hit(msgspec.Struct, frozen=True):
    """A chat that was found. message_id: the first message with the words, None when only the title has them."""

    row: ListRow
    n: int
    message_id: str | None
    pinned: bool
    share_id: str | None


def parse(text: str) -> Query:
    """The filters and the words of a typed text."""
    values: dict[str, list[str]] = {"tag": [], "folder": []}
    flags: dict[str, bool] = {}

    def take(found: "re.Match[str]") -> str:
        name, value = found[1].lower(), found[2].lower()
        if name in values:
            if value:
                values[name].append(value)
        elif value in {"true", "false"}:
            flags[name] = value == "true"
        return " "

    typed = _FILTER.sub(take, clean(text[:500])).split()
    # A dash between words is no word; what is typed alone, or is an emoji, is meant.
    words = [word for word in typed if _has_letters(word) or not word.isascii()] or typed
    return Query(
        words=tuple(words[:MAX_WORDS]),
        tags=tuple(dict.fromkeys(values["tag"])),
        folders=tuple(dict.fromkeys(values["folder"])),
        **flags,
    )


def _has_letters(word: str) -> bool:
    return any(c.isalnum() for c in word)


def _with_signs(words: Sequence[str]) -> list[str]:
    """The words of which the index knows only a part."""
    return [word for word in words if not word.isalnum()]


def only_shared(query: Query, shared: bool) -> Query:
    """The same, for chats that are shared, or for those that are not."""
    return msgspec.structs.replace(query, shared=shared)


def _fts5(user_id: str, words: Sequence[str]) -> str:
    terms = [f'"{word.replace(chr(34), chr(34) * 2)}"' for word in words]
    # What ends with a sign is typed to its end.
    star = " *" if words[-1][-1].isalnum() else ""
    return f'owner : "{owner_word(user_id)}" AND content : ({" AND ".join(terms)}{star})'


def _tsquery(words: Sequence[str]) -> str:
    quoted = ["'" + word.replace("\\", "\\\\").replace("'", "''") + "'" for word in words]
    return " & ".join(quoted) + (":*" if words[-1][-1].isalnum() else "")


def _variants(word: str) -> list[str]:
    # SQLite's LIKE ignores the case of ASCII only, and needs no help with it.
    if word.isascii():
        return [word]
    return list(dict.fromkeys([word, word.lower(), word.upper(), word.capitalize()]))


def _escaped(word: str) -> str:
    return word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")


def _contains(column: "sa.ColumnElement[str]", word: str) -> "sa.ColumnElement[bool]":
    return sa.or_(*(column.ilike(f"%{_escaped(v)}%", escape="\\") for v in _variants(word)))


def _titled(word: str, dialect: str) -> "sa.ColumnElement[bool]":
    """A condition: the title holds the word, whatever its case and accents."""
    if dialect == "postgresql":
        title: sa.ColumnElement[str] = sa.func.lower(sa.func.translate(t.c.title, *accents.letters()))
    else:
        title = getattr(sa.func, accents.FUNCTION)(t.c.title)
    plain = accents.without_accents(word) or ""
    return sa.or_(title.like(f"%{_escaped(plain)}%", escape="\\"), _contains(t.c.title, word))


def _matches(user_id: str, query: Query, dialect: str) -> "sa.Select[Any]":
    """The numbers of this user's messages that hold all the words, by the full-text index."""
    signs = [_contains(message.c.content, word) for word in _with_signs(query.words)]
    if dialect == "postgresql":
        search: sa.ColumnElement[Any] = sa.literal_column("chat_message.search")
        ts = sa.func.to_tsquery("simple", _tsquery(query.words))
        return sa.select(message.c.n).where(message.c.owner == owner_word(user_id), search.op("@@")(ts), *signs)
    index = sa.table("message_fts", sa.column("rowid", sa.BigInteger))
    match = sa.literal_column("message_fts").op("MATCH")(_fts5(user_id, query.words))
    found = sa.select(index.c.rowid.label("n")).where(match)
    return found.join(message, message.c.n == index.c.rowid).where(*signs) if signs else found


def _looked_at(query: Query) -> "list[sa.ColumnElement[bool]]":
    """The conditions on a message that is looked at itself, where the index is of no use."""
    return [message.c.done, *(_contains(message.c.content, word) for word in query.words)]


def _found(user_id: str, query: Query, dialect: str, within: tuple[int, int] | None = None) -> "sa.ColumnElement[bool]":
    """A condition: a message of the chat holds all the words. within: the numbers of chats that are looked at."""
    if query.is_unspaced:
        # One range of row numbers a chat, and no further than the page needs.
        inside = sa.and_(message.c.n >= t.c.n.op("<<")(_BITS), message.c.n < (t.c.n + 1).op("<<")(_BITS))
        return sa.exists().where(inside, *_looked_at(query))
    matches = _matches(user_id, query, dialect)
    number = matches.selected_columns[0]
    if within is not None:
        matches = matches.where(number >= within[0] << SHIFT, number < (within[1] + 1) << SHIFT)
    return t.c.n.in_(matches.with_only_columns(number.op(">>")(_BITS)))


async def _snippets(
    connection: AsyncConnection, user_id: str, query: Query, chat_numbers: Sequence[int]
) -> dict[int, tuple[str, str]]:
    """The first message with all the words in each of some chats, by the chats' numbers: its id, and what is around the word."""
    if not query.words or not chat_numbers:
        return {}
    dialect = connection.dialect.name
    matches = (
        sa.select(message.c.n).where(*_looked_at(query)) if query.is_unspaced else _matches(user_id, query, dialect)
    )
    number = matches.selected_columns[0]
    home = number.op(">>")(_BITS)
    # The newest chats mostly lie close together: the range spares the index the rest.
    low, high = min(chat_numbers), max(chat_numbers) + 1
    matches = matches.with_only_columns(sa.func.min(number)).where(number >= low << SHIFT, number < high << SHIFT)
    if high - low > CLOSE * len(chat_numbers):
        matches = matches.where(among(home, chat_numbers))
    find = sa.func.strpos if dialect == "postgresql" else sa.func.instr
    place = find(sa.func.lower(message.c.content), query.words[0].lower())
    # min() and max() of several values have another name on each database.
    start = sa.case((place > LEAD, place - LEAD), else_=1)
    rows = await connection.execute(
        sa.select(message.c.n, message.c.id, sa.func.substr(message.c.content, start, SNIPPET), start).where(
            message.c.n.in_(matches.group_by(home))
        )
    )
    wanted = set(chat_numbers)
    return {n >> SHIFT: (i, excerpt(text, begin > 1)) for n, i, text, begin in rows if n >> SHIFT in wanted}


def _filters(user_id: str, query: Query) -> list["sa.ColumnElement[bool]"]:
    where: list[sa.ColumnElement[bool]] = [
        t.c.user_id == user_id,
        t.c.archived == bool(query.archived),
        visible,
    ]
    if query.pinned is not None:
        where.append(t.c.pinned == query.pinned)
    if query.shared is not None:
        where.append(t.c.share_id.is_not(None) if query.shared else t.c.share_id.is_(None))
    tagged = sa.exists().where(link.c.chat_id == t.c.id)
    where += [sa.not_(tagged) if tag == "none" else tagged.where(link.c.tag_id == tag) for tag in query.tags]
    for name in query.folders:
        # In the typed text a blank of a folder's name is written as _.
        named = sa.func.replace(sa.func.lower(folder.c.name), " ", "_") == name
        where.append(t.c.folder_id.in_(sa.select(folder.c.id).where(folder.c.user_id == user_id, named)))
    return where


async def chats(
    connection: AsyncConnection,
    user_id: str,
    query: Query,
    *,
    active: Collection[str] = (),
    page: int = 1,
    size: int = chat_lists.PAGE,
    one_more: bool = False,
) -> list[Hit]:
    """A page of one's chats with the words in the title or in one message, newest first, with a snippet of that message.

    one_more: the first of the next page too, so that the caller knows whether there is one.
    """
    where = _filters(user_id, query)
    wanted = (page - 1) * size, size + one_more
    found = await _among_newest(connection, user_id, query, where, wanted)
    if found is None:
        if query.words:
            where.append(_said(user_id, query, connection.dialect.name))
        found = (await connection.execute(_listed(where).offset(wanted[0]).limit(wanted[1]))).all()
    snippets = await _snippets(connection, user_id, query, [r.n for r in found])
    out = []
    for r, line in zip(found, chat_lists.lines(found, active), strict=True):
        message_id, line.snippet = snippets.get(r.n, (None, None))
        out.append(Hit(line, r.n, message_id, bool(r.pinned), r.share_id))
    return out


def _said(user_id: str, query: Query, dialect: str, within: tuple[int, int] | None = None) -> "sa.ColumnElement[bool]":
    """A condition: a message of the chat has all the words, or its title has."""
    in_title = sa.and_(*(_titled(word, dialect) for word in query.words))
    return sa.or_(_found(user_id, query, dialect, within), in_title)


def _listed(where: "Sequence[sa.ColumnElement[bool]]") -> "sa.Select[Any]":
    """Chats as lists show them, newest first."""
    columns = sa.select(*chat_lists.columns, t.c.n, t.c.pinned, t.c.share_id)
    return columns.where(*where).order_by(t.c.updated_at.desc(), t.c.id.desc())


async def _among_newest(
    connection: AsyncConnection,
    user_id: str,
    query: Query,
    where: "Sequence[sa.ColumnElement[bool]]",
    wanted: tuple[int, int],
) -> Sequence[Any] | None:
    """The page, if the newest chats fill it; None otherwise.

    A word that stands in every other message has thousands of them in the index; most of them are no use to a page. The
    newest chats mostly lie close together, so a short piece of the index has what they say.
    """
    offset, count = wanted
    looked_at = NEWEST * (offset + count)
    if not query.words or query.is_unspaced or looked_at > MOST_NEWEST:
        return None
    newest = sa.select(t.c.n, t.c.updated_at, t.c.id).where(*where)
    newest = newest.order_by(t.c.updated_at.desc(), t.c.id.desc()).limit(looked_at)
    rows = (await connection.execute(newest)).all()
    if len(rows) < looked_at:
        return None
    numbers = [row[0] for row in rows]
    _, at, chat_id = rows[-1]
    among = sa.or_(t.c.updated_at > at, sa.and_(t.c.updated_at == at, t.c.id >= chat_id))
    said = _said(user_id, query, connection.dialect.name, (min(numbers), max(numbers)))
    found = (await connection.execute(_listed([*where, among, said]).offset(offset).limit(count))).all()
    return found if len(found) == count else None


def excerpt(text: object, cut_before: bool = False) -> str:
    """A part of a text as one line, whole words where it was cut."""
    if not isinstance(text, str):
        return ""
    line = " ".join(text.split())
    if cut_before and " " in line:
        line = "… " + line.split(" ", 1)[1]
    if len(text) >= SNIPPET and " " in line:
        line = line.rsplit(" ", 1)[0] + " …"
    return line


async def previews(connection: AsyncConnection, chat_ids: Sequence[str]) -> dict[str, str]:
    """The beginning of the current message of each chat."""
    rows = await connection.execute(
        sa.select(t.c.id, sa.func.substr(message.c.content, 1, SNIPPET))
        .join(message, sa.and_(message.c.chat_id == t.c.id, message.c.id == t.c.current_message_id))
        .where(among(t.c.id, chat_ids))
    )
    return {i: excerpt(text) for i, text in rows}
