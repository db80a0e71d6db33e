"""System calls that no tested program needs and that reach into the kernel: refused by a seccomp filter.

Runs inside the sandbox with nothing but the standard library. Calls are refused with EPERM, so that a program sees an
ordinary error; `clone3` with ENOSYS, because its flags are out of a filter's sight and C libraries then use `clone`.
"""

import ctypes
import os
import struct
import sys

PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050000, 0x80000000
EPERM, ENOSYS = 1, 38
AF_UNIX = 1
NAMESPACE_FLAGS = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET."""
LOAD, JUMP_IF_EQUAL, JUMP_IF_ANY_BIT, JUMP_IF_NOT_LESS, RETURN = 0x20, 0x15, 0x45, 0x35, 0x06
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT, ARGUMENT_BYTES = 0, 4, 16, 8
X32_BIT = 0x40000000

ARCHITECTURES = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""Machine -> (its AUDIT_ARCH, its column below)."""

REFUSED: dict[str, tuple[int, int | None]] = {
    # other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "ioprio_set": (251, 30),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
    # file systems and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    # keys outlive a process and are no namespace's
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # large and often attacked parts of the kernel
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "lookup_dcookie": (212, 18),
    "nfsservctl": (180, 42),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    # memory that the address-space limit does not count
    "io_setup": (206, 0),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "msgget": (68, 186),
    "semget": (64, 190),
    "mq_open": (240, 180),
    # the machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "syslog": (103, 116),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "iopl": (172, None),
    "ioperm": (173, None),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
}
"""Name -> number on (x86_64, aarch64)."""
CLONE, CLONE3 = (56, 220), (435, 435)
ONLY: dict[str, tuple[tuple[int, int], dict[int, int]]] = {
    "socket": ((41, 198), {0: AF_UNIX}),
    "socketpair": ((53, 199), {0: AF_UNIX}),
    # limits, priority and cores are its own to change, and no other process's
    "prlimit64": ((302, 261), {0: 0}),
    "setpriority": ((141, 140), {0: 0, 1: 0}),
    "sched_setparam": ((142, 118), {0: 0}),
    "sched_setscheduler": ((144, 119), {0: 0}),
    "sched_setaffinity": ((203, 122), {0: 0}),
    "sched_setattr": ((314, 274), {0: 0}),
}
"""Name -> numbers, and the values that an argument may have."""


def instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)


def build_filter(machine: str) -> bytes:
    """The classic BPF program for `machine`; empty where its system calls are not known.

    Source: Linux, Documentation/userspace-api/seccomp_filter.rst.
    """
    if machine not in ARCHITECTURES or sys.byteorder != "little":
        return b""
    architecture, column = ARCHITECTURES[machine]
    refuse = instruction(RETURN, REFUSE | EPERM)
    program = [
        instruction(LOAD, ARCHITECTURE_AT),
        instruction(JUMP_IF_EQUAL, architecture, 1, 0),
        instruction(RETURN, KILL),
        instruction(LOAD, NUMBER_AT),
        instruction(JUMP_IF_NOT_LESS, X32_BIT, 0, 1),
        refuse,
        instruction(JUMP_IF_EQUAL, CLONE3[column], 0, 1),
        instruction(RETURN, REFUSE | ENOSYS),
    ]
    for numbers in REFUSED.values():
        number = numbers[column]
        if number is not None:
            program += [instruction(JUMP_IF_EQUAL, number, 0, 1), refuse]
    allow = instruction(RETURN, ALLOW)
    for numbers, arguments in ONLY.values():
        body = [allow]
        for position, value in arguments.items():
            look = instruction(LOAD, FIRST_ARGUMENT_AT + ARGUMENT_BYTES * position)
            body = [look, instruction(JUMP_IF_EQUAL, value, 1, 0), refuse, *body]
        program += [instruction(JUMP_IF_EQUAL, numbers[column], 0, len(body)), *body]
    program += [
        instruction(JUMP_IF_EQUAL, CLONE[column], 0, 3),
        instruction(LOAD, FIRST_ARGUMENT_AT),
        instruction(JUMP_IF_ANY_BIT, NAMESPACE_FLAGS, 0, 1),
        refuse,
        allow,
    ]
    return b"".join(program)


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def install(libc: ctypes.CDLL, program: bytes) -> None:
    """Put `program` before every system call of this process and of all that it starts; no_new_privs must be set.

    Raises:
        OSError: the kernel refused it.
    """
    if not program:
        return
    filters = _Program(len(program) // 8, program)
    if libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filters), 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"seccomp: {os.strerror(number)}")
