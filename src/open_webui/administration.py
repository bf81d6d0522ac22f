"""Accounts and files from the command line: the services and checks of the HTTP API, beside a server that runs or without one.

A running server sees what changes here by looking: accounts within five seconds, on PostgreSQL also that signing up is closed.
"""

import re
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from open_webui.access import second_factor
from open_webui.access.identify import Identifier
from open_webui.access.passwords import Passwords
from open_webui.access.tokens import Tokens
from open_webui.config import Config
from open_webui.env import Settings
from open_webui.errors import BadRequest, Forbidden, NotFound, StartupError
from open_webui.internal import acts
from open_webui.internal.bus.memory import MemoryBus
from open_webui.internal.db import open_database
from open_webui.internal.folder_lock import lock_folder
from open_webui.migrations.runner import failures_as_sentences, need_current
from open_webui.models import configs, processes, users
from open_webui.models.audit import Head
from open_webui.models.users import Person, User
from open_webui.principal import Principal, Role
from open_webui.schemas.auths import AddUser, SignUp
from open_webui.schemas.users import UpdateUser
from open_webui.services import accounts
from open_webui.services.audit.commands import act_of, record_of
from open_webui.services.audit.record import sealing_of
from open_webui.services.audit.verify import verify
from open_webui.services.factors import own as own_factor
from open_webui.storage import open_bucket, open_disk, open_store
from open_webui.storage.move import Tell, move

AskPassword = Callable[[], str]
# In whose name accounts are made where there is no administrator.
_NOBODY = Principal(id="", role="admin", name="", email="")


class Administration:
    """What the services of accounts need, opened for one command (see `AccountDeps`)."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.database = open_database(settings)
        self.blobs = open_store(settings)
        self.config = Config()
        self.passwords = Passwords(workers=1)
        self.audit = record_of(settings, self.database)
        # It has nobody's session to look up here, so no token that it would take exists.
        self.identifier = Identifier(self.database, Tokens(secrets.token_urlsafe()), self.config, MemoryBus())

    async def config_changed(self) -> None:
        """A server that runs looks by itself (see `Followed`)."""

    async def models_changed(self) -> None:
        """So it does."""

    async def load_config(self) -> None:
        async with self.database.read() as connection:
            self.config.load(await configs.get_all(connection))

    async def close(self) -> None:
        self.passwords.close()
        await self.database.close()


@asynccontextmanager
async def _open(settings: Settings, command: str = "") -> AsyncIterator[Administration]:
    """command: what the audit record calls what is done.

    Raises StartupError where there is no current database; it is neither made nor migrated here.
    """
    await need_current(settings)
    admin = Administration(settings)
    try:
        with failures_as_sentences(settings):
            await admin.load_config()
            with acts.doing(act_of(command)):
                yield admin
    except ValidationError as error:
        # Without the values: one of them is the password.
        problems = (f"{e['loc'][0]}: {e['msg']}" for e in error.errors(include_input=False, include_url=False))
        raise BadRequest("; ".join(problems)) from None
    finally:
        await admin.close()


async def move_blobs(settings: Settings, to: Literal["local", "s3"], tell: Tell, *, remove: bool, dry_run: bool) -> str:
    """Copies the bytes of files to the disk or to the bucket, and says what was done. See `storage.move`.

    Servers may run meanwhile. remove: none may, and these settings must name the target, so that the next one reads from there.
    """
    bucket, disk = open_bucket(settings), open_disk(settings)
    source, target = (disk, bucket) if to == "s3" else (bucket, disk)
    async with AsyncExitStack() as stack:
        if remove:
            if (settings.storage_provider or "local") != to:
                raise StartupError(
                    f"With these settings the server reads from where files would be removed. Set STORAGE_PROVIDER={to} first."
                )
            stack.enter_context(lock_folder(settings))
            await _check_nobody_serves(settings)
        await bucket.check()
        tally = await move(source, target, tell, remove=remove, dry_run=dry_run)
    would = "Would copy" if dry_run else "Copied"
    said = f"{would} {tally.copied:,} files ({tally.size / 2**20:,.1f} MB); {tally.there:,} were there already."
    if remove:
        said += f" {'Would remove' if dry_run else 'Removed'} {tally.removed:,} from where they were."
    if tally.bad:
        listed = ", ".join(tally.bad[:5]) + (" and others" if len(tally.bad) > 5 else "")
        raise BadRequest(f"{said} {len(tally.bad):,} are damaged and were left as they are: {listed}.")
    return said


async def _check_nobody_serves(settings: Settings) -> None:
    """Raises StartupError where processes serve from a PostgreSQL database; on SQLite the folder's lock says it."""
    database = open_database(settings)
    try:
        if not database.is_sqlite:
            with failures_as_sentences(settings):
                async with database.read() as connection:
                    found = await processes.hosts(connection)
            if found:
                raise StartupError(f"Servers run on {', '.join(found)}. Stop them before files are removed.")
    finally:
        await database.close()


async def list_users(settings: Settings) -> list[str]:
    """Lines of a table of all accounts, the oldest first."""
    async with _open(settings) as admin, admin.database.read() as connection:
        found = await users.people(connection)
    rows = [("e-mail", "role", "last here", "name"), *(_row(person) for person in found)]
    widths = [max(len(row[k]) for row in rows) for k in range(3)]
    return ["  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3]]) for row in rows]


def _row(person: Person) -> tuple[str, str, str, str]:
    seen = datetime.fromtimestamp(person.last_active_at, UTC)
    return plain(person.email), person.role, f"{seen:%Y-%m-%d %H:%M}", plain(person.name)


def plain(text: str) -> str:
    """The text with a sign for each that can't be printed."""
    # Whoever signs up chooses the name: control characters would reach the operator's terminal.
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


async def add_user(settings: Settings, email: str, name: str, role: Role | None, ask: AskPassword) -> str:
    """Makes an account and says so. The first of all is the administrator, whatever role is asked for."""
    async with _open(settings, "users add") as admin:
        fields: dict[str, Any] = {"email": email, "name": name or email.partition("@")[0], "role": role or "user"}
        # What is wrong with them is better said before a password is typed.
        accounts.valid_email(AddUser(**fields, password="-").email)
        async with admin.database.read() as connection:
            is_first = not await users.any_exists(connection)
        form = AddUser(**fields, password=ask())
        if is_first and await accounts.create_first_admin(admin, SignUp(**form.model_dump(exclude={"role"}))):
            return f"Added {form.email} (admin): the first account administers the server. Signing up is closed now."
        await accounts.create(admin, await _operator(admin), form)
        return f"Added {form.email} ({form.role})."


async def set_password(settings: Settings, email: str, ask: AskPassword) -> str:
    """Gives an account another password, which ends its sessions and its API key."""
    async with _open(settings, "users password") as admin:
        user, operator = await _find(admin, email)
        form = UpdateUser(password=ask())
        if not form.password:
            raise BadRequest(accounts.PASSWORD_EMPTY)
        await accounts.update(admin, operator, user.id, form)
        return (
            f"The password of {user.email} is changed. Whoever was signed in to the account has to sign in again, and its "
            "API key works no more."
        )


async def set_role(settings: Settings, email: str, role: Role) -> str:
    """Gives an account another role."""
    async with _open(settings, "users role") as admin:
        user, operator = await _find(admin, email)
        try:
            await accounts.update(admin, operator, user.id, UpdateUser(role=role))
        except Forbidden:
            raise Forbidden(f"{user.email} is the server's first administrator and stays one.") from None
        return f"{user.email} is {role} now."


async def remove_factor(settings: Settings, email: str) -> str:
    """Removes an account's second factor and recovery codes, which ends its sessions."""
    async with _open(settings, "users remove-factor") as admin:
        user, _ = await _find(admin, email)
        if not await own_factor.remove(admin, user.id):
            return f"{user.email} has no second factor. Whoever was signed in to the account has to sign in again."
        asked = " and sets up another one then" if second_factor.is_on(admin.config) else ""
        return f"The second factor of {user.email} is removed. Its owner signs in with the password alone{asked}."


async def delete_user(settings: Settings, email: str, confirm: Callable[[str], bool]) -> str:
    """Removes an account with all that is its own, if `confirm` says yes to the question."""
    async with _open(settings, "users delete") as admin:
        user, operator = await _find(admin, email)
        if operator is _NOBODY:
            raise Forbidden("There is no administrator. Make one first: `oui-backend users role EMAIL admin`.")
        if user.id == operator.id:
            raise Forbidden(f"{user.email} is the server's first administrator, whom nobody can remove.")
        if not confirm(f"Delete {user.email} with all chats and files for good?"):
            return "Nothing was deleted."
        await accounts.delete(admin, operator, user.id)
        return f"Deleted {user.email}."


class BrokenRecord(StartupError):
    """The audit record is not whole."""

    exit_code = 3


async def verify_audit(settings: Settings, noted: str, former_secret: str) -> str:
    """Checks the audit record, and says what was found. noted: a link, NUMBER:HASH. former_secret: a secret of before.

    Raises BrokenRecord.
    """
    known = _head(noted) if noted else None
    async with _open(settings) as admin:
        keys = [admin.audit.sealing, *([sealing_of(former_secret)] if former_secret else [])]
        found = await verify(admin.database, keys, known)
    if found.problem is not None:
        raise BrokenRecord(f"The audit record breaks at entry {found.at:,}. {found.problem}")
    if not found.entries:
        return "The audit record is empty."
    waiting = f" {found.waiting:,} more wait to be linked." if found.waiting else ""
    head = f"{found.last}:{found.hash}"
    return f"The audit record is whole: entries {found.first:,} to {found.last:,}. Its head is {head}.{waiting}"


def _head(noted: str) -> Head:
    number, _, digest = noted.strip().partition(":")
    if not (number.isascii() and number.isdigit() and len(number) < 19 and re.fullmatch(r"[0-9a-f]{64}", digest)):
        raise BadRequest("--head is NUMBER:HASH, as `oui-backend audit verify` and the server's log say it.")
    return Head(int(number), digest)


async def _find(admin: Administration, email: str) -> tuple[User, Principal]:
    """The account of an address, and in whose name it is changed."""
    address = UpdateUser(email=email).email or ""
    async with admin.database.read() as connection:
        user = await users.get_by_email(connection, address)
    if user is None:
        raise NotFound(f"There is no account {address}. `oui-backend users list` shows all.")
    return user, await _operator(admin)


async def _operator(admin: Administration) -> Principal:
    """The first administrator: who may run commands on the server's machine may do what that one may."""
    async with admin.database.read() as connection:
        first = await users.primary_admin(connection)
    return _NOBODY if first is None else Principal(id=first.id, role="admin", name=first.name, email=first.email)
