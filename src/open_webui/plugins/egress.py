"""The way of plugins to the network: a worker asks for a connection; the server makes it, if it may be made, and pumps bytes.

A worker has no socket of its own (see `oui_sandbox.sockets`). What it sends is one end of a pair, with a host and a port.
Names are looked up here, and each address is checked at the moment it is connected to.
"""

import asyncio
import contextlib
import ipaddress
import json
import socket
from typing import Final

import msgspec

from open_webui.internal.guarded_http import is_public
from open_webui.internal.log import get_logger

log = get_logger(__name__)
# Connections of one worker at once.
MOST: Final = 64
CONNECT_SECONDS: Final = 15.0
_PIECE: Final = 64 * 1024
_MESSAGE: Final = 4_096


class _Refused(Exception):
    """Why a connection is not made, as a sentence."""


class Policy(msgspec.Struct, frozen=True):
    """Whereto plugins may connect. hosts: names, addresses, `*.name`, each with or without `:port`. refusal: where there is
    no network.
    """

    only_listed: bool
    hosts: tuple[str, ...] = ()
    refusal: str = ""

    @classmethod
    def of(cls, network: str, hosts: str, off: str = "Plugins of this server may not use the network.") -> "Policy":
        """That of the settings PLUGIN_NETWORK and PLUGIN_ALLOWED_HOSTS. off: the sentence where there is no network."""
        listed = tuple(host.strip().lower() for host in hosts.split(",") if host.strip())
        refusal = off if network == "off" else ""
        return cls(network == "list", listed, refusal)

    def lists(self, host: str, port: int) -> bool:
        """Whether an admin has named it."""
        host = host.lower().rstrip(".")
        return any(_matches(entry, host, port) for entry in self.hosts)


def _matches(entry: str, host: str, port: int) -> bool:
    name, separator, number = entry.rpartition(":")
    if separator and number.isdigit() and not name.endswith(":"):
        if int(number) != port:
            return False
        entry = name.strip("[]")
    return host == entry or (entry.startswith("*.") and host.endswith(entry[1:]))


class Egress:
    """One worker's. theirs: its end of the control socket."""

    def __init__(self, policy: Policy, name: str) -> None:
        self._policy = policy
        self._name = name
        self._ours, self.theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._ours.setblocking(False)
        self._tasks: set[asyncio.Task[None]] = set()
        # Those that nobody has taken over yet.
        self._ends: set[socket.socket] = set()
        self._is_open = False

    def open(self) -> None:
        """Begins to answer."""
        self._is_open = True
        asyncio.get_running_loop().add_reader(self._ours.fileno(), self._read)

    def close(self) -> None:
        """Ends all connections."""
        if self._is_open:
            self._is_open = False
            asyncio.get_running_loop().remove_reader(self._ours.fileno())
        self._ours.close()
        for task in self._tasks:
            task.cancel()
        for end in self._ends:
            end.close()
        self._ends.clear()

    def _read(self) -> None:
        try:
            message, files, _, _ = socket.recv_fds(self._ours, _MESSAGE, 4)
        except BlockingIOError:
            return
        except OSError:
            message, files = b"", []
        ends = [socket.socket(fileno=file) for file in files]
        if not message or len(ends) != 1:
            for end in ends:
                end.close()
            if not message:
                self._is_open = False
                asyncio.get_running_loop().remove_reader(self._ours.fileno())
            return
        if len(self._tasks) >= MOST:
            _refuse(ends[0], f"A plugin may have {MOST} connections at once.")
            return
        self._ends.add(ends[0])
        task = asyncio.create_task(self._serve(message, ends[0]), name="connection of a plugin")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, message: bytes, end: socket.socket) -> None:
        """One connection, from its being asked for to its end."""
        why = "The connection was not made."
        try:
            host, port = _wanted(message)
            if end.family != socket.AF_UNIX or end.type != socket.SOCK_STREAM:
                raise _Refused("This is no socket that can be connected.")
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await self._connect(host, port)
        except (_Refused, TimeoutError) as error:
            why = str(error) or "The connection was not made in time."
            log.info("a plugin's connection was refused", plugin=self._name, why=why)
            return
        else:
            self._ends.discard(end)
        finally:
            if end in self._ends:
                self._ends.discard(end)
                _refuse(end, why)
        end.setblocking(False)
        inside, answers = await asyncio.open_unix_connection(sock=end, limit=_PIECE)
        answers.write(b"\0")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_pump(inside, writer))
                group.create_task(_pump(reader, answers))
        except* OSError:
            pass
        finally:
            answers.close()
            writer.close()

    async def _connect(self, host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises _Refused."""
        is_listed = self._policy.lists(host, port)
        if self._policy.only_listed and not is_listed:
            raise _Refused(f"Plugins of this server may not connect to {host}:{port}.")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise _Refused(f"{host} is not known.") from error
        why = f"{host} can't be reached."
        for family, _, _, _, address in found:
            if not is_listed and not _is_open(str(address[0])):
                why = f"{host} is no public address; an admin may add it to PLUGIN_ALLOWED_HOSTS."
                continue
            try:
                return await asyncio.open_connection(str(address[0]), port, family=family, limit=_PIECE)
            except OSError as error:
                why = f"{host}:{port} can't be reached ({error.strerror or 'no answer'})."
        raise _Refused(why)


def _wanted(message: bytes) -> tuple[str, int]:
    try:
        asked = json.loads(message)
        host, port = str(asked["host"])[:300], int(asked["port"])
    except (ValueError, KeyError, TypeError) as error:
        raise _Refused("This is no address.") from error
    if not host or not 0 < port < 65_536:
        raise _Refused("This is no address.")
    return host, port


def _is_open(address: str) -> bool:
    try:
        return is_public(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return False


def _refuse(end: socket.socket, why: str) -> None:
    with end, contextlib.suppress(OSError):
        end.setblocking(False)
        end.send(b"\1" + why.encode()[:500])


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(_PIECE):
        writer.write(data)
        await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
