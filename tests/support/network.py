"""No test leaves the machine: a connection to anything but loopback is refused where Python would open it."""

import ipaddress
import sys
from typing import Any

LOCAL_NAMES = frozenset({"", "localhost", "127.0.0.1", "::1", "0.0.0.0", "::"})


class NetworkRefusedError(RuntimeError):
    """A test tried to reach another machine."""


def refuse_all_but_loopback() -> None:
    """Installs the guard for the rest of this process. An audit hook, since nothing in Python goes round it."""
    sys.addaudithook(_guard)


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.connect":
        _check_address(arguments[1])
    elif event == "socket.getaddrinfo":
        _check_name(arguments[0])


def _check_address(address: Any) -> None:
    if isinstance(address, tuple) and address:
        _check_name(address[0])


def _check_name(host: Any) -> None:
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in LOCAL_NAMES:
        return
    try:
        local = ipaddress.ip_address(name.partition("%")[0]).is_loopback
    except ValueError:
        local = False
    if not local:
        raise NetworkRefusedError(f"A test may not reach {name}: only loopback is open to tests.")
