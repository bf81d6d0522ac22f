"""Which system calls a worker may make: a filter of the kernel's, installed by the worker for itself.

It names what is refused, and refuses all that is newer than it: a list of what is allowed would have to know what each
library of each plugin needs. A refused call raises PermissionError where the plugin made it.
"""

import ctypes
import errno
import os
import struct
from typing import Final, NamedTuple

from oui_sandbox import kernel

_AUDIT: Final = (0xC000003E, 0xC00000B7)
# The last call that the list below was made with.
_LAST: Final = 463
_LD, _JMP, _RET = 0x20, 0x05, 0x06
_JEQ, _JGE, _JSET, _AND = 0x15, 0x35, 0x45, 0x54
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
_NR, _ARCH, _ARG = 0, 4, 16
_CLONE_THREAD: Final = 0x10000
_AF_UNIX, _SOCK_DGRAM, _SOCK_RAW, _SOCK_RDM = 1, 2, 3, 4
_NUMBER = tuple[int | None, int | None]

# Numbers on x86-64 and ARM64. Never for anybody: connections come from the server (`sockets`); a plugin is one process; nothing
# of the system's, of other processes' or of its own identity is changed; memory is what RLIMIT_AS counts.
REFUSED: Final[dict[str, _NUMBER]] = {
    "socket": (41, 198), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201), "accept": (43, 202),
    "accept4": (288, 242), "recvmmsg": (299, 243), "sendmmsg": (307, 269),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424),
    "kcmp": (312, 272), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "fsopen": (430, 430), "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433),
    "move_mount": (429, 429), "open_tree": (428, 428), "mount_setattr": (442, 442), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265),
    "bpf": (321, 280), "perf_event_open": (298, 241), "io_uring_setup": (425, 425), "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427), "userfaultfd": (323, 282), "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "fanotify_init": (300, 262), "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218),
    "kexec_load": (246, 104), "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273),
    "delete_module": (176, 106), "reboot": (169, 142), "swapon": (167, 224), "swapoff": (168, 225), "acct": (163, 89),
    "syslog": (103, 116), "settimeofday": (164, 170), "clock_settime": (227, 112), "clock_adjtime": (305, 266),
    "adjtimex": (159, 171), "sethostname": (170, 161), "setdomainname": (171, 162), "iopl": (172, None),
    "ioperm": (173, None), "modify_ldt": (154, None), "lookup_dcookie": (212, 18), "vhangup": (153, 58),
    "personality": (135, 92), "setuid": (105, 146), "setgid": (106, 144), "setreuid": (113, 145), "setregid": (114, 143),
    "setresuid": (117, 147), "setresgid": (119, 149), "setfsuid": (122, 151), "setfsgid": (123, 152),
    "setgroups": (116, 159), "capset": (126, 91), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119), "sched_setparam": (142, 118), "sched_setattr": (314, 274),
    "sched_setaffinity": (203, 122), "migrate_pages": (256, 238), "move_pages": (279, 239),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195), "semget": (64, 190), "semop": (65, 193),
    "semctl": (66, 191), "semtimedop": (220, 192), "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188),
    "msgctl": (71, 187), "mq_open": (240, 180), "mq_unlink": (241, 181), "mknod": (133, None), "mknodat": (259, 33),
}  # fmt: skip
_CLONE, _CLONE3, _KILL_NR, _TGKILL = (56, 220), (435, 435), (62, 129), (234, 131)
_PRLIMIT, _SOCKETPAIR, _SENDTO, _IOCTL, _FCNTL = (302, 261), (53, 199), (44, 206), (16, 29), (72, 25)
# Terminals that take typed text, and whom a file's signals go to.
_IOCTLS: Final = (0x5412, 0x541C, 0x8901, 0x8902)
_FCNTLS: Final = (8, 10, 15)


class _Step(NamedTuple):
    """One instruction of the filter. true, false: how many of the next to leave out."""

    code: int
    value: int
    true: int = 0
    false: int = 0


def install() -> None:
    """From here on the process is bound. Raises OSError where the kernel has no filters, or the machine is an unknown one.

    The process must be allowed no new privileges, and have one thread.
    """
    if kernel.ARCHITECTURE is None:
        raise OSError(errno.ENOSYS, "there is no list of system calls for this machine")
    steps = program(kernel.ARCHITECTURE, os.getpid())
    code = b"".join(struct.pack("=HBBI", s.code, s.true, s.false, s.value) for s in steps)
    buffer = ctypes.create_string_buffer(code, len(code))
    head = struct.pack("@HP", len(steps), ctypes.addressof(buffer))
    pointer = ctypes.create_string_buffer(head, len(head))
    kernel.prctl(kernel.PR_SET_SECCOMP, 2, ctypes.addressof(pointer))


def program(machine: int, pid: int) -> list[_Step]:
    """The filter for one process. machine: the position of its numbers in the tables above."""
    steps = [
        _Step(_LD, _ARCH),
        _Step(_JEQ, _AUDIT[machine], 1, 0),
        _Step(_RET, _KILL),
        _Step(_LD, _NR),
        # Newer calls, and those of x32.
        _Step(_JGE, _LAST, 0, 1),
        _Step(_RET, _ENOSYS),
        _Step(_JEQ, _of(_CLONE3, machine), 0, 1),
        _Step(_RET, _ENOSYS),
    ]
    for numbers in REFUSED.values():
        if (number := numbers[machine]) is not None:
            steps += (_Step(_JEQ, number, 0, 1), _Step(_RET, _EPERM))
    steps += _if_call(_of(_CLONE, machine), 0, _Step(_JSET, _CLONE_THREAD, 1, 0))
    for call in (_KILL_NR, _TGKILL):
        steps += _if_call(_of(call, machine), 0, _Step(_JEQ, pid, 1, 0))
    steps += _if_call(_of(_PRLIMIT, machine), 0, _Step(_JEQ, 0, 2, 0), _Step(_JEQ, pid, 1, 0))
    steps += _if_call(_of(_SOCKETPAIR, machine), 0, _Step(_JEQ, _AF_UNIX, 1, 0))
    # A datagram socket could be sent anywhere.
    kinds = [_Step(_AND, 0xF), *_none_of((_SOCK_DGRAM, _SOCK_RAW, _SOCK_RDM))]
    steps += _if_call(_of(_SOCKETPAIR, machine), 1, *kinds)
    for half in (0, 4):
        steps += _if_call(_of(_SENDTO, machine), 4, _Step(_JEQ, 0, 1, 0), half=half)
    steps += _if_call(_of(_IOCTL, machine), 1, *_none_of(_IOCTLS))
    steps += _if_call(_of(_FCNTL, machine), 1, *_none_of(_FCNTLS))
    return [*steps, _Step(_RET, _ALLOW)]


def _of(numbers: _NUMBER, machine: int) -> int:
    number = numbers[machine]
    assert number is not None
    return number


def _none_of(values: tuple[int, ...]) -> list[_Step]:
    """Goes to the refusal that follows for one of the values, past it for others."""
    last = len(values) - 1
    return [_Step(_JEQ, value, last - i, 1 if i == last else 0) for i, value in enumerate(values)]


def _if_call(number: int, argument: int, *checks: _Step, half: int = 0) -> list[_Step]:
    """Checks half of an argument of one call, the lower one at 0: the checks leave out the refusal behind them, or don't."""
    body = [_Step(_LD, _ARG + 8 * argument + half), *checks, _Step(_RET, _EPERM), _Step(_LD, _NR)]
    return [_Step(_JEQ, number, 0, len(body)), *body]
