"""The network inside: sockets that the server connects, so that libraries need no change.

The kernel makes no socket for a worker. A TCP socket here is one end of a pair of pipes; `connect` sends the other end to
the server, with the host and the port, and the server pumps bytes between it and the connection that it makes. It answers
through the pair: one zero byte, or the sentence why not. A name's address is invented here, and remembered: who connects to
it means the name.
"""

import asyncio
import errno
import json
import socket
import threading
from collections import OrderedDict
from typing import Any, Final

_PLAIN = socket.socket
_MAX_NAMES: Final = 4096
_MAX_SENTENCE: Final = 500
_FIRST: Final = (198 << 24) | (18 << 16)
_TCP_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)
# Seconds that a socket waits to be connected whose owner said that it would not wait.
_PATIENCE: Final = 30.0


class _Network:
    """What is known of it in this process."""

    def __init__(self) -> None:
        self.control: socket.socket | None = None
        self.refusal = "There is no network here."
        self.names: OrderedDict[str, str] = OrderedDict()
        self.addresses: dict[str, str] = {}
        self.lock = threading.Lock()
        self.next = 1


_network = _Network()


class Socket(socket.socket):
    """A TCP socket that the server connects; made of a file that is there, a plain socket."""

    __slots__ = ("_other", "_peer", "_timeout")

    def __init__(self, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> None:  # noqa: A002
        self._other: socket.socket | None = None
        self._peer: tuple[str, int] | None = None
        if fileno is not None:
            super().__init__(family, type, proto, fileno)
            return
        family = socket.AF_INET if family == -1 else family
        kind = socket.SOCK_STREAM if type == -1 else type & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        if family not in _TCP_FAMILIES:
            raise PermissionError(errno.EACCES, "A plugin can't reach other processes of this machine.")
        if kind != socket.SOCK_STREAM:
            raise PermissionError(errno.EACCES, "A plugin may use TCP only: neither UDP nor raw sockets.")
        ours, self._other = _pair()
        super().__init__(family, socket.SOCK_STREAM, proto if proto > 0 else socket.IPPROTO_TCP, ours.detach())

    def connect(self, address: Any) -> None:
        """Raises OSError with the server's sentence where it makes no connection."""
        timeout = self.gettimeout()
        self.begin(address)
        self.settimeout(_PATIENCE if timeout == 0 else timeout)
        try:
            first = self.recv(1)
            rest = b"" if first == b"\0" else first + self._sentence()
        finally:
            self.settimeout(timeout)
        self.finish(rest)

    def connect_ex(self, address: Any) -> int:
        """The number of the error, 0 for none."""
        try:
            self.connect(address)
        except OSError as error:
            return error.errno or errno.ECONNREFUSED
        return 0

    def begin(self, address: Any) -> None:
        """Asks the server for the connection. Raises OSError."""
        if self._other is None:
            raise OSError(errno.EISCONN, "This socket is connected, or can't be.")
        host, port = str(address[0]), int(address[1])
        control = _network.control
        if control is None:
            raise PermissionError(errno.EACCES, _network.refusal)
        with _network.lock:
            name = _network.addresses.get(host, host)
        other, self._other = self._other, None
        try:
            socket.send_fds(control, [json.dumps({"host": name[:300], "port": port}).encode()], [other.fileno()])
        finally:
            other.close()
        self._peer = (host, port)

    def finish(self, answer: bytes) -> None:
        """Takes the server's answer without its first byte where that is 0. Raises ConnectionRefusedError."""
        if answer:
            text = answer[1:].decode(errors="replace") or "The server made no connection."
            raise ConnectionRefusedError(errno.ECONNREFUSED, text)

    def _sentence(self) -> bytes:
        told = b""
        while len(told) < _MAX_SENTENCE and (part := self.recv(_MAX_SENTENCE)):
            told += part
        return told or b" "

    def setsockopt(self, *arguments: Any) -> None:
        """What is said of TCP is true of no pair of pipes, and left out."""
        if arguments[0] == socket.SOL_SOCKET or (self._peer is None and self._other is None):
            try:
                super().setsockopt(*arguments)
            except OSError:
                if self._peer is None and self._other is None:
                    raise

    def getpeername(self) -> Any:
        """The address that it was connected to."""
        return super().getpeername() if self._peer is None else self._peer

    def getsockname(self) -> Any:
        """Some address, for a TCP socket."""
        is_tcp = self._peer is not None or self._other is not None
        return ("198.18.0.0", 0) if is_tcp else super().getsockname()

    def bind(self, address: Any) -> None:
        """Any port of this machine, which a client asks for; else refused."""
        if self._other is None or int(address[1]) != 0:
            raise PermissionError(errno.EACCES, "A plugin can't listen on the network.")

    def listen(self, backlog: int = 0) -> None:  # noqa: ARG002 - as the original
        """Refused."""
        raise PermissionError(errno.EACCES, "A plugin can't listen on the network.")

    def close(self) -> None:
        """Both ends."""
        if self._other is not None:
            self._other.close()
            self._other = None
        super().close()


class Loop(asyncio.SelectorEventLoop):
    """Waits for the server's answer to a connection without holding anything else up."""

    async def sock_connect(self, sock: Any, address: Any) -> None:
        """Raises OSError."""
        if not isinstance(sock, Socket):
            await super().sock_connect(sock, address)
            return
        sock.begin(address)
        first = await self.sock_recv(sock, 1)
        if first == b"\0":
            return
        told = first
        while len(told) < _MAX_SENTENCE and (part := await self.sock_recv(sock, _MAX_SENTENCE)):
            told += part
        sock.finish(told or b" ")

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 - as the original
        proto: int = 0,
        flags: int = 0,
    ) -> Any:
        """At once: nothing is asked."""
        return getaddrinfo(host, port, family, type, proto, flags)


def getaddrinfo(
    host: Any,
    port: Any,
    family: int = 0,
    type: int = 0,  # noqa: A002 - as the original
    proto: int = 0,
    flags: int = 0,
) -> list[tuple[Any, ...]]:
    """One address for a host: itself where it is one, else an invented one. The server looks it up when it connects."""
    del flags
    name = host.decode() if isinstance(host, bytes) else "localhost" if host is None else str(host)
    if type not in {0, socket.SOCK_STREAM}:
        raise socket.gaierror(socket.EAI_SOCKTYPE, "A plugin may use TCP only.")
    number = int(port or 0) if not isinstance(port, str) or port.isdigit() else {"http": 80, "https": 443}.get(port, 0)
    if _is_number(socket.AF_INET6, name):
        entry: tuple[Any, ...] = (socket.AF_INET6, (name, number, 0, 0))
    else:
        entry = (socket.AF_INET, (name if _is_number(socket.AF_INET, name) else _invented(name), number))
    if family not in {0, entry[0]}:
        raise socket.gaierror(socket.EAI_NONAME, f"{name} has no such address here.")
    return [(entry[0], socket.SOCK_STREAM, proto or socket.IPPROTO_TCP, "", entry[1])]


def gethostbyname(host: str) -> str:
    """An address that stands for a host."""
    return str(getaddrinfo(host, 0, socket.AF_INET)[0][4][0])


def open_control(control: socket.socket | None, refusal: str) -> None:
    """From here on connections are asked for through this socket, or refused with a sentence."""
    _network.control = control
    _network.refusal = refusal


def install() -> None:
    """Puts them in the place of Python's own, before any library is imported."""
    socket.socket = Socket  # type: ignore[misc]
    socket.SocketType = Socket  # type: ignore[assignment]
    socket.getaddrinfo = getaddrinfo
    socket.gethostbyname = gethostbyname
    socket.gethostbyname_ex = lambda host: (host, [], [gethostbyname(host)])
    socket.gethostbyaddr = _no_name
    socket.getfqdn = lambda name="": name or "plugin"
    socket.gethostname = lambda: "plugin"
    asyncio.SelectorEventLoop = Loop

    class Policy(asyncio.DefaultEventLoopPolicy):
        _loop_factory = Loop

    asyncio.set_event_loop_policy(Policy())


def _pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


def _no_name(address: str) -> Any:
    raise socket.herror(1, f"The name of {address} is not known here.")


def _is_number(family: int, name: str) -> bool:
    try:
        socket.inet_pton(family, name)
    except OSError:
        return False
    return True


def _invented(name: str) -> str:
    key = name.lower().rstrip(".")
    with _network.lock:
        if (known := _network.names.get(key)) is not None:
            _network.names.move_to_end(key)
            return known
        if len(_network.names) >= _MAX_NAMES:
            _, old = _network.names.popitem(last=False)
            _network.addresses.pop(old, None)
        address = socket.inet_ntoa(((_FIRST + _network.next) & 0xFFFFFFFF).to_bytes(4, "big"))
        _network.next = _network.next % 131_000 + 1
        _network.names[key] = address
        _network.addresses[address] = key
        return address
