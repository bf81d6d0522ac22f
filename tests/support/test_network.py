"""Tests reach loopback and nothing else."""

import asyncio
import socket

import aiohttp
import pytest

from tests.support.network import NetworkRefusedError
from tests.support.upstream import Upstream


@pytest.mark.parametrize("address", ["203.0.113.7", "10.0.0.1", "169.254.169.254", "2001:db8::1"])
def test_a_connection_to_another_machine_is_refused(address: str) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as attempt, pytest.raises(NetworkRefusedError, match="only loopback"):
        attempt.connect((address, 80))


def test_a_name_is_not_even_looked_up() -> None:
    with pytest.raises(NetworkRefusedError, match=r"example\.com"):
        socket.getaddrinfo("example.com", 80)


async def test_the_event_loop_is_guarded_too() -> None:
    with pytest.raises(NetworkRefusedError):
        await asyncio.open_connection("203.0.113.7", 80)


async def test_loopback_is_open(upstream: Upstream) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{upstream.openai_url}/models") as reply:
        assert reply.status == 200
