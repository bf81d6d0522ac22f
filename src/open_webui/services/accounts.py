"""The life of an account: signing up, in and out, passwords, changes by admins, API keys. The rules are here, once."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from pydantic import ValidationError

from open_webui import constants
from open_webui.access.api_keys import key_hash, new_key
from open_webui.access.identify import API_KEYS
from open_webui.access.tokens import Claims, parse_duration
from open_webui.config import Config
from open_webui.errors import BadRequest, Forbidden, NotFound, StartupError
from open_webui.internal import acts
from open_webui.internal.db import UnitOfWork
from open_webui.internal.log import get_logger
from open_webui.models import accounts, api_keys, chats, configs, file_uses, files, group_members, groups, users
from open_webui.models.base import new_id
from open_webui.models.files import NewFile
from open_webui.models.users import DEFAULT_IMAGE, User
from open_webui.principal import ROLES, Principal, Role
from open_webui.schemas.auths import AddUser, SignIn, SignUp, UpdatePassword, UpdateProfile
from open_webui.schemas.users import UpdateUser
from open_webui.services import intake, staging
from open_webui.services.deps import AccountDeps, Deps
from open_webui.services.files import PICTURE_BAD, check_picture
from open_webui.services.signing_in import LIFETIME, Admitted, SignedIn, admit, lifetime
from open_webui.utils import addresses
from open_webui.utils.data_urls import LEAST
from open_webui.utils.emails import is_email
from open_webui.utils.pictures import from_data_url

log = get_logger(__name__)
SIGNUP = "ui.enable_signup"
DEFAULT_ROLE = "ui.default_user_role"
_GRAVATAR = re.compile(r"https://(www\.|secure\.)?gravatar\.com/avatar/[0-9a-f]{32,64}(\?[\w=&%.-]{0,200})?")
# Where a profile shows the picture from; a page that posts it back means "as it is".
_OWN_IMAGE = re.compile(r"(https?://[^/]+)?/api/v1/users/[^/]+/profile/image(\?.*)?")
_HOST = re.compile(r"^https?://[^/]+")

PASSWORD_WRONG = "The current password is not correct."
PASSWORD_EMPTY = "The password can't be empty."
NO_PASSWORD = "This is a service account: only API keys get into it."
SWITCHED_OFF = "This account is switched off. An administrator of this server can switch it on."
FROM_ELSEWHERE = (
    "The first account of this server can't be made under this name: a page of another site could do the same. Open the"
    " server as http://localhost with its port, name its proxy in FORWARDED_ALLOW_IPS, or set WEBUI_ADMIN_EMAIL and"
    " WEBUI_ADMIN_PASSWORD."
)
SIGNUP_OFF = "Signing up is switched off on this server. An administrator can add an account for you."
KEYS_OFF = "You may not create an API key on this server. An administrator can allow it."


# Signing up and in


async def sign_up(deps: Deps, form: SignUp, address: str, *, may_be_first: bool = True) -> Admitted:
    """The first account of all becomes the admin and switches sign-up off; later ones get the default role.

    may_be_first: whether the request can't be one that a page of another site makes; see `forwarded.may_be_rebound`.
    """
    await deps.attempts.sign_up(address)
    if not deps.config[SIGNUP]:
        raise Forbidden(SIGNUP_OFF, status=403)
    values = _new_person(form, "pending")
    own = await _keep_picture(deps, values)
    password_hash = await _hash(deps, form.password)
    async with deps.database.write() as unit:
        if await accounts.claim_first_admin(unit.connection, values["id"]):
            if not may_be_first:
                raise Forbidden(FROM_ELSEWHERE, status=403)
            values["role"] = "admin"
            await close_sign_up(deps, unit)
        else:
            values["role"] = await _later_role(deps, unit)
        stamp = await insert(unit, values, password_hash, own=own)
        acts.by(values["id"], values["email"])
        await join_default_group(deps, unit, values["id"])
        return await admit(deps, unit, values["id"], stamp)


async def close_sign_up(deps: AccountDeps, unit: UnitOfWork) -> None:
    """To be called where the first account is made."""
    await configs.put(unit.connection, deps.config.storable({SIGNUP: False}))
    unit.after_commit(deps.config_changed)


async def _later_role(deps: Deps, unit: UnitOfWork) -> Role:
    """The role of an account that isn't the first.

    Looks again whether sign-up is on: the first account may have been made since, here or by another replica.
    """
    if deps.config.locked_by(SIGNUP) is None:
        stored = await configs.get_all(unit.connection)
        if stored.get(SIGNUP, True) is not True:
            raise Forbidden(SIGNUP_OFF, status=403)
    role = deps.config[DEFAULT_ROLE]
    return role if role in ROLES else "pending"


async def _keep_picture(deps: Deps, values: dict[str, Any]) -> list[NewFile]:
    """Stores the picture of somebody who is about to get an account, in place of its data: URL."""
    found = from_data_url(values["profile_image_url"])
    if found is None or len(values["profile_image_url"]) < LEAST:
        return []
    file = await intake.put(deps, values["id"], found[0])
    values["profile_image_url"] = addresses.address(file.id)
    return [file]


async def insert(
    unit: UnitOfWork,
    values: Mapping[str, Any],
    password_hash: str | None,
    *,
    own: Sequence[NewFile] = (),
    writer_id: str | None = None,
) -> str:
    """A person's rows; returns the session stamp. password_hash: None for who signs in by another site. own: the files of their
    picture. writer_id: who makes the account, if not that person.
    """
    if not await users.insert(unit.connection, values):
        raise BadRequest(constants.EMAIL_TAKEN)
    user_id, url = values["id"], values["profile_image_url"]
    await files.add(unit.connection, user_id, own)
    await file_uses.link(unit.connection, "profile_id", user_id, writer_id or user_id, url, new=True)
    await check_picture(unit.connection, "profile_id", user_id, url)
    return await accounts.insert_credential(unit.connection, values["id"], password_hash)


async def join_default_group(deps: AccountDeps, unit: UnitOfWork, user_id: str) -> None:
    """Puts a new person where an admin wants new people to be."""
    group_id = deps.config["ui.default_group_id"]
    if group_id and await groups.repository.get(unit.connection, group_id) is not None:
        await group_members.add(unit.connection, group_id, [user_id])


async def add(deps: Deps, actor: Principal, form: AddUser) -> SignedIn:
    """An account made by an admin, signed in."""
    user_id, stamp = await create(deps, actor, form)
    token, claims = deps.tokens.issue(user_id, stamp, lifetime(deps))
    return SignedIn(await get(deps, user_id), token, claims)


async def create(deps: AccountDeps, actor: Principal, form: AddUser) -> tuple[str, str]:
    """An account made by an admin: its id and its session stamp."""
    values = _new_person(form, form.role or "pending")
    password_hash = await _hash(deps, form.password)
    async with deps.database.write() as unit:
        stamp = await insert(unit, values, password_hash, writer_id=actor.id)
        await join_default_group(deps, unit, values["id"])
    return values["id"], stamp


async def create_first_admin(deps: AccountDeps, form: SignUp) -> bool:
    """Makes the administrator of a server without accounts and closes sign-up; False when there is an account already."""
    values = _new_person(form, "admin")
    password_hash = await _hash(deps, form.password)
    async with deps.database.write() as unit:
        if not await accounts.claim_first_admin(unit.connection, values["id"]):
            return False
        await insert(unit, values, password_hash)
        await close_sign_up(deps, unit)
    return True


async def ensure_admin(deps: AccountDeps) -> None:
    """Makes the admin that the environment names, while there is no account at all. Raises StartupError."""
    email, password = deps.settings.webui_admin_email, deps.settings.webui_admin_password.get_secret_value()
    if not email or not password:
        return
    async with deps.database.read() as connection:
        if await users.any_exists(connection):
            return
    try:
        form = SignUp(name=deps.settings.webui_admin_name, email=email, password=password)
        made = await create_first_admin(deps, form)
    except BadRequest as error:
        raise StartupError(f"The first admin can't be made. WEBUI_ADMIN_EMAIL: {error.detail}") from None
    except ValidationError as error:
        # Without the values: one of them is the password.
        problems = (f"WEBUI_ADMIN_{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False))
        raise StartupError(f"The first admin can't be made. {'; '.join(problems)}") from None
    if made:
        log.info("made the first admin from the environment", email=form.email)


async def sign_in(deps: Deps, form: SignIn, address: str) -> Admitted:
    """Takes as long for an unknown address as for a wrong password."""
    await deps.attempts.sign_in(address, form.email)
    async with deps.database.read() as connection:
        found = await accounts.credential_by_email(connection, form.email)
    stored = found.password_hash if found is not None else None
    if found is not None:
        acts.about("user", found.user_id)
    if not await deps.passwords.verify(form.password, stored) or found is None or stored is None:
        raise BadRequest(constants.BAD_CREDENTIALS)
    if not found.active:
        raise Forbidden(SWITCHED_OFF, status=403)
    better = await deps.passwords.hash(form.password) if deps.passwords.needs_rehash(stored) else None
    async with deps.database.write() as unit:
        if better is not None:
            await accounts.replace_hash(unit.connection, found.user_id, stored, better)
        admitted = await admit(deps, unit, found.user_id, found.session_stamp)
        if isinstance(admitted, SignedIn):
            await users.touch(unit.connection, found.user_id)
    return admitted


async def sign_out(deps: Deps, token: str) -> Claims | None:
    """Ends the session of a token, and returns what it said; anything else is nothing to end."""
    claims = deps.tokens.verify(token)
    if claims is None:
        return None
    async with deps.database.write() as unit:
        await accounts.revoke(unit.connection, claims.jti, claims.exp)
        unit.after_commit(partial(deps.identifier.forget, claims.id))
    return claims


# One's own account


async def get(deps: AccountDeps, user_id: str) -> User:
    """Raises BadRequest for an unknown id, as the wire does under users."""
    async with deps.database.read() as connection:
        user = await users.get(connection, user_id)
    if user is None:
        raise BadRequest(constants.NOT_FOUND)
    return user


async def update_profile(deps: Deps, user_id: str, form: UpdateProfile) -> User:
    values: dict[str, Any] = {"name": form.name, "bio": form.bio, "gender": form.gender}
    values["date_of_birth"] = form.date_of_birth.isoformat() if form.date_of_birth else None
    values |= picture_change(form.profile_image_url)
    user = await change(deps, user_id, values)
    await deps.identifier.forget(user_id)
    return user


async def change(deps: Deps, user_id: str, values: Mapping[str, Any]) -> User:
    """Changes columns of a person's row that grant nothing."""
    async with deps.database.write() as unit:
        user = await users.update(unit.connection, user_id, values)
        await check_picture(unit.connection, "profile_id", user_id, values.get("profile_image_url"))
    if user is None:
        raise BadRequest(constants.NOT_FOUND)
    return user


async def change_password(deps: Deps, user_id: str, form: UpdatePassword, asking: Claims) -> SignedIn:
    """Ends all sessions of the account and opens a new one for who asked, which says of its beginning what the old one did."""
    await deps.attempts.change_password(user_id)
    async with deps.database.read() as connection:
        found = await accounts.credential_of(connection, user_id)
    stored = found.password_hash if found is not None else None
    if not await deps.passwords.verify(form.password, stored) or stored is None:
        raise BadRequest(PASSWORD_WRONG)
    password_hash = await _hash(deps, form.new_password)
    async with deps.database.write() as unit:
        unit.after_commit(partial(deps.identifier.forget, user_id))
        stamp = await accounts.set_password(unit.connection, user_id, password_hash, instead_of=stored)
        if stamp is not None and not form.keep_api_keys:
            await api_keys.delete_all(unit.connection, user_id)
    if stamp is None:
        # An administrator has set another one meanwhile.
        raise BadRequest(PASSWORD_WRONG)
    token, claims = deps.tokens.issue(
        user_id, stamp, lifetime(deps), asking.auth_method, mfa_verified=asking.mfa_verified
    )
    return SignedIn(await get(deps, user_id), token, claims)


async def _hash(deps: AccountDeps, password: str) -> str:
    if not password:
        raise BadRequest(PASSWORD_EMPTY)
    return await deps.passwords.hash(password)


# What admins do to others


async def update(deps: AccountDeps, actor: Principal, user_id: str, form: UpdateUser) -> User:
    """Only the primary admin changes the primary admin, and nobody demotes that one."""
    values = {k: v for k, v in (("name", form.name), ("role", form.role)) if v is not None}
    if form.email is not None:
        values["email"] = valid_email(form.email)
    if form.profile_image_url is not None:
        values |= picture_change(form.profile_image_url)
    password_hash = await _hash(deps, form.password) if form.password else None
    async with deps.database.write() as unit:
        unit.after_commit(partial(deps.identifier.forget, user_id))
        if await users.get(unit.connection, user_id, lock=True) is None:
            raise BadRequest(constants.NOT_FOUND)
        primary = await users.primary_admin(unit.connection)
        if primary is not None and primary.id == user_id and (actor.id != user_id or form.role not in {None, "admin"}):
            raise Forbidden(constants.ACTION_PROHIBITED, status=403)
        if form.active is not None and user_id != actor.id:
            await switch(deps, unit, user_id, on=form.active)
        user = await users.update(unit.connection, user_id, values, writer_id=actor.id)
        await check_picture(unit.connection, "profile_id", user_id, values.get("profile_image_url"))
        if password_hash is not None:
            if await accounts.set_password(unit.connection, user_id, password_hash) is None:
                raise BadRequest(NO_PASSWORD)
            # Whoever knew the old one may have made a key with it; its owner makes another once signed in.
            await api_keys.delete_all(unit.connection, user_id)
    if user is None:
        raise BadRequest(constants.NOT_FOUND)
    return user


async def revoke_sessions(deps: Deps, user_id: str) -> None:
    """Ends all sessions of an account."""
    async with deps.database.write() as unit:
        if await users.get(unit.connection, user_id) is None:
            raise BadRequest(constants.NOT_FOUND)
        await accounts.new_stamp(unit.connection, user_id)
        unit.after_commit(partial(deps.identifier.forget, user_id))


async def delete(deps: AccountDeps, actor: Principal, user_id: str) -> None:
    """Removes an account with all that is its own. Nobody removes themselves or the primary admin."""
    async with deps.database.write() as unit:
        there = await users.lock(unit.connection, [actor.id, user_id])
        primary = await users.primary_admin(unit.connection)
        if actor.id not in there or user_id == actor.id or (primary is not None and primary.id == user_id):
            raise Forbidden(constants.ACTION_PROHIBITED, status=403)
        await remove(deps, unit, user_id, heir=actor.id)


async def remove(deps: AccountDeps, unit: UnitOfWork, user_id: str, heir: str) -> None:
    """An account goes with all that is its own. Whether it may was checked before. heir: who gets what is everybody's."""
    held = await chats.lock_all(unit.connection, user_id)
    await staging.remove(deps.database, unit, held, heir=heir)
    await users.delete(unit.connection, user_id, heir=heir)
    unit.after_commit(partial(deps.identifier.forget, user_id))
    # Theirs are gone.
    unit.after_commit(deps.models_changed)


async def switch(deps: AccountDeps, unit: UnitOfWork, user_id: str, *, on: bool) -> None:
    """Lets a person be here, or no more: their sessions, keys, sockets and answers end then, and none of them comes back."""
    await accounts.set_active(unit.connection, user_id, active=on)
    if not on:
        await accounts.new_stamp(unit.connection, user_id)
        await api_keys.delete_all(unit.connection, user_id)
    unit.after_commit(partial(deps.identifier.forget, user_id))


async def admin_contact(deps: Deps) -> User | None:
    """Whom people who wait may write to: the configured admin, else the primary one; None when it isn't shown."""
    if not deps.config["auth.admin.show"]:
        return None
    email = deps.config["auth.admin.email"]
    async with deps.database.read() as connection:
        named = await users.get_by_email(connection, email.strip().lower()) if email else None
        return named or await users.primary_admin(connection)


# API keys


async def create_key(deps: Deps, principal: Principal) -> str:
    """A new key in place of the old one."""
    if not deps.config["auth.enable_api_keys"] or not principal.may(API_KEYS):
        raise Forbidden(KEYS_OFF, status=403)
    key = new_key()
    async with deps.database.write() as unit:
        sealed = deps.sealer.seal(key, principal.id)
        await api_keys.put(unit.connection, principal.id, key_hash(key), sealed)
        unit.after_commit(partial(deps.identifier.forget, principal.id))
    return key


async def show_key(deps: Deps, user_id: str) -> str:
    async with deps.database.read() as connection:
        found = await api_keys.shown(connection, user_id)
    sealed = None if found is None else found.sealed
    key = None if sealed is None else deps.sealer.unseal(sealed, user_id)
    if key is None:
        raise NotFound("There is no API key to show. Create one.")
    return key


async def delete_key(deps: Deps, user_id: str) -> bool:
    async with deps.database.write() as unit:
        deleted = await api_keys.delete_shown(unit.connection, user_id)
        unit.after_commit(partial(deps.identifier.forget, user_id))
    return deleted


def check_environment(config: Config) -> None:
    """Raises StartupError when the environment fixes a role or lifetime that there is not."""
    if (variable := config.locked_by(DEFAULT_ROLE)) and config[DEFAULT_ROLE] not in ROLES:
        raise StartupError(f"The configuration can't be used. {variable}: must be one of {', '.join(ROLES)}")
    if variable := config.locked_by(LIFETIME):
        try:
            parse_duration(config[LIFETIME])
        except ValueError as error:
            raise StartupError(f"The configuration can't be used. {variable}: {error}") from None


def valid_email(email: str) -> str:
    """The same address. Raises BadRequest for what is none."""
    if not is_email(email):
        raise BadRequest(constants.BAD_EMAIL)
    return email


def _new_person(form: SignUp, role: Role) -> dict[str, Any]:
    values: dict[str, Any] = {"id": new_id(), "name": form.name, "email": valid_email(form.email), "role": role}
    return values | {"profile_image_url": DEFAULT_IMAGE} | picture_change(form.profile_image_url or "")


def picture_change(url: str) -> dict[str, str]:
    """The change of a profile picture that a posted address stands for: none when it is the profile's own address.

    Other addresses than these are refused: whoever looks at a profile would call them.
    """
    if url.startswith("data:"):
        if from_data_url(url) is None:
            raise BadRequest(PICTURE_BAD)
        return {"profile_image_url": url}
    if _OWN_IMAGE.fullmatch(url):
        return {}
    if (file_id := addresses.id_in(_HOST.sub("", url))) is not None:
        return {"profile_image_url": addresses.address(file_id)}
    if url in {"", DEFAULT_IMAGE} or re.fullmatch(r"(https?://[^/]+)?/(static/)?(user|favicon)\.png", url):
        return {"profile_image_url": DEFAULT_IMAGE}
    if _GRAVATAR.fullmatch(url):
        return {"profile_image_url": url}
    raise BadRequest(PICTURE_BAD)
