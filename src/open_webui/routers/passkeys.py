"""Passkeys: one's own, signing in with one, alone or after the password; and fresh proofs, by which a session's owner shows again
that it is them.
"""

from typing import Annotated, Any, Final

import msgspec
from fastapi import Path, Request, Response

from open_webui.access.passkeys import Site
from open_webui.access.policy import PENDING, PUBLIC
from open_webui.constants import MAX_ID
from open_webui.deps import AppState, Caller
from open_webui.errors import BadRequest
from open_webui.routers.sessions import asking, base_url, session_of, session_reply, with_cookie, without_challenge
from open_webui.routing import Json, address_of, allow, new_router
from open_webui.schemas import replies
from open_webui.schemas.auths import Enrolled, MfaChallenge, PasskeyMade, PasskeyRename, PasskeyShown, Proof
from open_webui.schemas.replies.shape import Shape
from open_webui.services.factors import ceremonies, step_up
from open_webui.services.factors import own as factors
from open_webui.services.factors import passkeys as service
from open_webui.services.factors.ceremonies import Given
from open_webui.state import State

router = new_router(prefix="/api/v1/auths/passkeys", tag="auths")
waiting = new_router(prefix="/api/v1/auths/mfa/passkey", tag="auths")
proofs = new_router(prefix="/api/v1/auths/proof", tag="auths")
# A person at a page, not a key.
SESSION = msgspec.structs.replace(PENDING, session_only=True)
PasskeyId = Annotated[str, Path(max_length=MAX_ID)]
_NO_STORE: Final = {"cache-control": "no-store"}


def _site(request: Request, state: State) -> Site:
    """For which server passkeys are made: WEBUI_URL's, else the one that the request was sent to. Raises BadRequest."""
    return ceremonies.site_of(base_url(request, state), is_fixed=bool(state.config["webui.url"]))


def _given(form: PasskeyShown, request: Request, state: State) -> Given:
    """What a page sent back. Raises BadRequest."""
    name = form.name if isinstance(form, PasskeyMade) else ""
    return Given(form.challenge_token, form.credential.plain(), _site(request, state), address_of(request), name)


@router.get("")
@allow(SESSION)
async def own(state: AppState, caller: Caller) -> "Annotated[service.Own, Shape(replies.passkeys.OwnPasskeys)]":
    """One's passkeys, and whether there is an authenticator app besides."""
    return await service.own(state, caller)


@router.post("/register/start")
@allow(SESSION)
async def begin(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.passkeys.PasskeyCeremony)]":
    """What a browser is asked to make a passkey. Who has a factor has shown one lately; who has none, signed in lately."""
    begun = await service.begin(state, caller, asking(request, state), _site(request, state))
    return Json(begun, headers=_NO_STORE)


@router.post("/register")
@allow(SESSION)
async def register(
    form: PasskeyMade, request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.passkeys.RegisteredPasskey)]":
    """Stores a passkey that a browser has made. recovery_codes: of who had no factor before."""
    given = _given(form, request, state)
    return Json(await service.register(state, caller, asking(request, state), given), headers=_NO_STORE)


@router.post("/recovery/codes")
@allow(SESSION)
async def recovery_codes(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.people.MfaRecoveryCodes)]":
    """Other recovery codes in place of one's own, for who has shown a passkey or another factor lately: no code is needed."""
    codes = await factors.codes_after_proof(state, caller, asking(request, state))
    return Json({"recovery_codes": codes}, headers=_NO_STORE)


@router.post("/{passkey_id}")
@allow(SESSION)
async def rename(
    passkey_id: PasskeyId, form: PasskeyRename, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.passkeys.Passkey)]":
    """Gives a passkey another name."""
    return await service.rename(state, caller, passkey_id, form.name)


@router.delete("/{passkey_id}")
@allow(SESSION)
async def remove(
    passkey_id: PasskeyId, request: Request, state: AppState, caller: Caller
) -> "Annotated[dict[str, Any], Shape(replies.passkeys.RemovedPasskey)]":
    """Removes a passkey; not the last factor of who must have one."""
    await service.remove(state, caller, asking(request, state), passkey_id)
    return {"status": True}


@router.post("/signin/start")
@allow(PUBLIC)
async def begin_sign_in(
    request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.passkeys.PasskeyCeremony)]":
    """What a browser is asked so that one of its passkeys signs somebody in."""
    begun = await service.begin_sign_in(state, _site(request, state), address_of(request))
    return Json(begun, headers=_NO_STORE)


@router.post("/signin/verify")
@allow(PUBLIC)
async def sign_in(
    form: PasskeyShown, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.SessionUser)]":
    """Signs in with a passkey alone, which must have asked for a PIN, a finger or a face."""
    return await session_reply(request, state, await service.sign_in(state, _given(form, request, state)))


@waiting.post("/start")
@allow(PUBLIC)
async def start(
    form: MfaChallenge, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.passkeys.PasskeyCeremony)]":
    """What a browser is asked in a sign-in that waits: to sign, or to make a passkey as a first factor."""
    begun = await service.start(state, _site(request, state), form.challenge_token, address_of(request))
    return Json(begun, headers=_NO_STORE)


@waiting.post("/verify")
@allow(PUBLIC)
async def verify(
    form: PasskeyShown, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.SessionUser)]":
    """Signs in with a passkey after the password."""
    signed_in = await service.verify(state, _given(form, request, state))
    return without_challenge(await session_reply(request, state, signed_in), request, state)


@waiting.post("/enroll")
@allow(PUBLIC)
async def enroll(
    form: PasskeyMade, request: Request, state: AppState
) -> "Annotated[Response, Shape(replies.people.MfaEnrollment)]":
    """Sets a passkey up as a first factor, and signs in. All other sessions end."""
    done = await service.enroll(state, _given(form, request, state))
    session = msgspec.structs.asdict(await session_of(state, done.signed_in))
    reply = Json(Enrolled(**session, recovery_codes=done.recovery_codes))
    signed_in = done.signed_in
    return without_challenge(with_cookie(reply, request, state, signed_in.token, signed_in.claims), request, state)


@proofs.post("/start")
@allow(SESSION)
async def begin_proof(
    request: Request, state: AppState, caller: Caller
) -> "Annotated[Response, Shape(replies.passkeys.ProofWays)]":
    """By what one may show that it is oneself. passkey: what a browser is asked."""
    try:
        site = _site(request, state)
    except BadRequest:
        site = None
    return Json(await step_up.start(state, caller, asking(request, state), site), headers=_NO_STORE)


@proofs.post("")
@allow(SESSION)
async def prove(
    form: Proof, request: Request, state: AppState, caller: Caller
) -> "Annotated[step_up.Shown, Shape(replies.passkeys.ProofGiven)]":
    """Shows that it is oneself. It counts for this session, and for so long."""
    claims, address = asking(request, state), address_of(request)
    if form.password is not None:
        return await step_up.by_password(state, caller, claims, form.password)
    if form.code is not None:
        return await step_up.by_code(state, caller, claims, form.code, address, recovery=form.recovery)
    assert form.credential is not None, "the form has one of three"
    assert form.challenge_token is not None, "it comes with the credential"
    given = Given(form.challenge_token, form.credential.plain(), _site(request, state), address)
    return await step_up.by_passkey(state, caller, claims, given)
