"""Accounts, with the hashes of their passwords, and groups with their members."""

import re
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import msgspec

from open_webui.access.oauth.id_tokens import is_subject
from open_webui.constants import MAX_EMAIL, MAX_NAME
from open_webui.errors import BadRequest, StartupError
from open_webui.models import accounts as credentials
from open_webui.models import configs, file_uses, files, group_members, identities, moved, users
from open_webui.models.files import NewFile
from open_webui.models.users import DEFAULT_IMAGE
from open_webui.moving_in.move import Move, Part, below
from open_webui.moving_in.rows import Left, Row
from open_webui.moving_in.source import Keys
from open_webui.moving_in.valves import without_valves
from open_webui.principal import ROLES, SHARES_WITH, Role
from open_webui.services import accounts

# Hashes whose check takes a time that a server can spend: bcrypt of at most 2^15 rounds, Argon2 of at most 1 GiB.
_BCRYPT: Final = re.compile(r"\$2[aby]\$(0[4-9]|1[0-5])\$[./A-Za-z0-9]{53}")
_ARGON2: Final = re.compile(
    r"\$argon2id?\$v=19\$m=(\d{1,7}),t=(\d{1,2}),p=(\d{1,2})\$[A-Za-z0-9+/]{8,100}\$[A-Za-z0-9+/]{16,200}"
)
_MAX_MEMORY: Final = 2**20
_MAX_PASSES: Final = 16
# Members of a group that are read.
_MAX_MEMBERS: Final = 100_000
_WORDS: Final = {"username": 50, "bio": 10_000, "gender": 100, "timezone": 64, "presence_state": 100,
                 "status_emoji": 100, "status_message": 1_000}  # fmt: skip
_KEPT: Final = ("settings", "info", "variables")
_MAX_KEPT: Final = 1_000_000
MEANWHILE: Final = (
    "The server was empty when the import began, and somebody has signed up meanwhile, who administers it. Run the same"
    " command again: administrators of the other server come as users then, or add --keep-roles."
)


def order(_move: Move, keys: Keys) -> Keys:
    """Administrators first, the oldest before the others, or before all the one who is the first by an archive: the first
    account of an empty server is one.
    """

    def place(row: Row) -> tuple[int, int, str]:
        made = row.number("created_at")
        rank = 0 if row.flag("is_primary") else 1 + (row.text("role") != "admin")
        return (rank, made if made is not None else 2**63, row.text("id") or "")

    return sorted(keys, key=lambda one: place(one[1]))


async def person(move: Move, row: Row) -> "Person | None":
    """An account as it is going to be; None where its address has an account here: then it is that one's."""
    user_id = row.need_id()
    email = accounts.valid_email((row.text("email") or "").strip().lower())
    if len(email) > MAX_EMAIL:
        raise Left("its e-mail address is too long")
    async with move.database.read() as connection:
        here = await users.get_by_email(connection, email)
    there = here.id if here is not None else move.emails.get(email)
    if there is not None:
        move.people[user_id] = there
        move.report.note(f"{email} has an account here already: what was theirs there is that account's now.")
        return None
    made = Person(move, row, user_id, email)
    await made.read(move, row)
    move.people[user_id] = user_id
    move.emails[email] = user_id
    if made.is_first:
        move.first_admin = user_id
        move.report.note(f"{email} is the first account of this server and administers it. Signing up is closed.")
    return made


class Person:
    """values: the row. password_hash: None where nobody can sign in with it. files: of their pictures."""

    def __init__(self, move: Move, row: Row, user_id: str, email: str) -> None:
        self.is_first = move.is_empty and move.first_admin is None and row.text("role") == "admin"
        self.password_hash: str | None = None
        self.is_on = True
        self.files: list[NewFile] = []
        name = (row.text("name", MAX_NAME) or "").strip() or email.partition("@")[0]
        self.values: dict[str, Any] = {"id": user_id, "email": email, "name": name, "role": _role(move, row, email)}
        seen = row.seconds("last_active_at")
        self.values |= row.times(move.at)
        self.values["last_active_at"] = self.values["created_at"] if seen is None else seen

    async def read(self, move: Move, row: Row) -> None:
        user_id = self.values["id"]
        self.values |= {name: row.text(name, most) for name, most in _WORDS.items()}
        self.values["date_of_birth"] = _birthday(row.text("date_of_birth", 10))
        self.values["status_expires_at"] = row.seconds("status_expires_at")
        self.values |= {name: row.json(name) for name in ("oauth", "scim")}
        pictures = {
            "profile_image_url": _picture(row, "profile_image_url") or DEFAULT_IMAGE,
            "profile_banner_image_url": _picture(row, "profile_banner_image_url"),
        }
        documents = {name: row.object(name, 40_000_000) for name in _KEPT}
        # They come when what they are of is here.
        documents["settings"] = without_valves(documents["settings"])
        taken, self.files = await move.without_pictures(user_id, pictures | documents)
        self.values |= taken
        if file_uses.references(list(taken.values())):
            move.pictured.append(user_id)
        for name in _KEPT:
            if len(msgspec.json.encode(taken[name])) > _MAX_KEPT:
                self.values[name] = None
                row.mended.append(
                    f"its {name} is larger than {_MAX_KEPT:,} bytes without its pictures, and is left out"
                )
        await self._read_credential(move, row, user_id)

    async def _read_credential(self, move: Move, row: Row, user_id: str) -> None:
        found = await move.source.select("auth", "id", [user_id], limit=1)
        if found:
            self.is_on = found[0].flag("active", default=True)
            stored = found[0].text("password", 1_000)
            self.password_hash = stored if stored and _is_safe(stored) else None
            if (found[0].raw("mfa") or "null").strip() not in {"null", "{}", "[]"}:
                row.mended.append(
                    "its second factor stays there, encrypted: it sets up another one where ENABLE_MFA asks for one"
                )
        if self.password_hash is None:
            row.mended.append("it has no password that can be checked here: set one with `oui-backend users password`")


def _role(move: Move, row: Row, email: str) -> Role:
    role = row.text("role")
    if role == "admin" and not move.trusted:
        move.report.note(
            f"{email} was an administrator there and is a user here; `oui-backend users role` changes that."
        )
        return "user"
    return next((known for known in ROLES if known == role), "pending")


def _is_safe(stored: str) -> bool:
    found = _ARGON2.fullmatch(stored)
    if found is not None:
        memory, passes, lanes = (int(number) for number in found.groups())
        return memory <= _MAX_MEMORY and 0 < passes <= _MAX_PASSES and 0 < lanes <= 16
    return _BCRYPT.fullmatch(stored) is not None


def _birthday(text: str | None) -> str | None:
    try:
        return date.fromisoformat(text).isoformat() if text else None
    except ValueError:
        return None


def _picture(row: Row, name: str) -> str | None:
    """A picture's address or data: URL, None for one that can't be shown."""
    url = row.text(name, 3_000_000) or ""
    if not url:
        return None
    try:
        return accounts.picture_change(url).get("profile_image_url")
    except BadRequest:
        row.mended.append(f"its {name} is no picture that can be kept")
        return None


def _identities(oauth: Any) -> Iterator[tuple[str, str]]:
    """Who somebody is at providers, as the other server has it in one column."""
    for provider, said in oauth.items() if isinstance(oauth, dict) else ():
        subject = said.get("sub") if isinstance(said, dict) else None
        if isinstance(subject, int) and not isinstance(subject, bool):
            subject = str(subject)
        if is_subject(subject) and is_subject(provider):
            yield str(provider), str(subject)


async def store_person(move: Move, made: Person | None) -> bool:
    """False for an account that is here already."""
    if made is None:
        return False
    values = made.values
    async with move.database.write() as unit:
        connection = unit.connection
        if made.is_first and not await credentials.claim_first_admin(connection, values["id"]):
            # Nothing of it is stored: who comes next must know that this is no longer an empty server.
            raise StartupError(MEANWHILE)
        if not await moved.insert(connection, "user", values):
            del move.people[values["id"]]
            raise Left("an account with its id or its address was made here meanwhile: run the import again")
        await files.add(connection, values["id"], made.files)
        shown = [values["profile_image_url"], values["profile_banner_image_url"]]
        await file_uses.link(connection, "profile_id", values["id"], values["id"], shown, new=True)
        kept = [values[name] for name in _KEPT]
        await file_uses.link(connection, "settings_id", values["id"], values["id"], kept, new=True)
        await credentials.insert_credential(connection, values["id"], made.password_hash, active=made.is_on)
        # Else whoever made up what is moved in could wait at an account for somebody of the provider.
        for provider, subject in _identities(values["oauth"]) if move.trusted else ():
            await identities.add(connection, values["id"], provider, subject, values["email"])
        if made.is_first:
            await configs.put(connection, move.admin.config.storable({accounts.SIGNUP: False}))
    return True


async def link_pictures(move: Move) -> None:
    """Notes which files accounts use that came after them."""
    for user_id in move.pictured:
        async with move.database.write() as unit:
            found = await users.get(unit.connection, user_id)
            if found is not None:
                shown = [found.profile_image_url, found.profile_banner_image_url]
                await file_uses.link(unit.connection, "profile_id", user_id, user_id, shown)
                kept = [found.settings, found.info, await users.variables(unit.connection, user_id)]
                await file_uses.link(unit.connection, "settings_id", user_id, user_id, kept)


# Groups


async def group(move: Move, row: Row) -> dict[str, Any]:
    """A group with its members, under `members`."""
    group_id = row.need_id()
    above = move.parents.get("group", {}).get(group_id)
    if above is not None and (not move.is_here("group", above) or move.parents["group"].get(above) is not None):
        row.mended.append("the group that it inherits from did not come along, or inherits itself")
        above = None
    found = await move.source.select("group_member", "group_id", [group_id], limit=_MAX_MEMBERS, only=["user_id"])
    members = {move.people.get(one.id("user_id") or "") for one in found}
    if None in members:
        row.mended.append("some of its members did not come along")
    return {
        "id": group_id,
        "user_id": move.owner_or_admin(row),
        "name": row.need("name", MAX_NAME),
        "description": row.text("description") or "",
        "data": row.object("data"),
        "meta": row.object("meta"),
        "permissions": row.object("permissions"),
        # Of an archive of this server's kind.
        "share_with": limit if (limit := row.text("share_with")) in SHARES_WITH else None,
        "parent_group_id": above,
        "members": sorted(member for member in members if member is not None),
    } | row.times(move.at)


async def store_group(move: Move, made: dict[str, Any]) -> bool:
    members = made.pop("members")
    async with move.database.write() as unit:
        if not await moved.insert(unit.connection, "group", made):
            return False
        await group_members.add(unit.connection, made["id"], members)
    return True


PEOPLE: Final = Part("user", "user", ("id", "email"), person, store_person, order=order, at_once=1)
GROUPS: Final = Part(
    "group",
    "group",
    ("id", "name"),
    group,
    store_group,
    order=below("group", "parent_group_id", same_owner=False),
    at_once=1,
)
