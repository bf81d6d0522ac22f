"""Addresses that no sign-in can be at: those that an admin types, and those that a server names."""

import pytest
from aiohttp import web

from open_webui.errors import BadRequest
from open_webui.tools import oauth
from tests.support.service import Asked, a_service

WRONG = ["", "x", "http://", "http://[", "http://a:b/", "http://a:99999/", "ftp://x/", "//x", "javascript:alert(1)"]


@pytest.mark.parametrize("url", WRONG)
async def test_what_is_no_address_is_a_sentence(url: str) -> None:
    with pytest.raises(BadRequest, match="no address"):
        await oauth.discover(url)
    with pytest.raises(BadRequest, match="no address"):
        await oauth.discover("https://127.0.0.1:9", url)


@pytest.mark.parametrize("field", ["authorization_endpoint", "token_endpoint"])
@pytest.mark.parametrize("url", WRONG)
async def test_a_server_that_names_no_address_is_not_signed_in_at(url: str, field: str) -> None:
    async with a_service() as service:
        named = {"authorization_endpoint": f"{service.url}/a", "token_endpoint": f"{service.url}/t"}
        about = {"issuer": service.url, "code_challenge_methods_supported": ["S256"], **named, field: url}

        async def answer(asked: Asked) -> web.Response:
            return web.json_response(about if "authorization-server" in asked.path else {})

        service.answer = answer
        with pytest.raises(oauth.SignInFailed, match="does not say where"):
            await oauth.discover(service.url)
