"""elf.py - the few facts about an ELF file that decide if it can be preloaded.

Contract    read(path) returns None for what is no ELF file; a damaged one gives an Elf with what
            could be read. Nothing is executed, at most a few KiB are read, except by `exports`.
Fails with  OSError when the file cannot be read.
Source      System V ABI, "Object Files"; elf(5).
"""

from __future__ import annotations

import struct
from typing import BinaryIO, NamedTuple

__all__ = ["Elf", "exports", "machine_name", "read"]

PT_INTERP = 3
SHT_DYNSYM = 11
MACHINES = {
    0x03: "x86 (32-bit)", 0x08: "MIPS", 0x15: "PowerPC 64", 0x16: "S/390", 0x28: "ARM (32-bit)",
    0x3E: "x86-64", 0xB7: "AArch64", 0xF3: "RISC-V", 0x102: "LoongArch",
}  # fmt: skip


class Elf(NamedTuple):
    """What a loader looks at first; ``interpreter`` is empty when no loader is asked for."""

    bits: int
    machine: int
    interpreter: str


def machine_name(machine: int) -> str:
    """Name an ELF machine number, for messages."""
    return MACHINES.get(machine, f"machine {machine}")


def read(path: str) -> Elf | None:
    """Read the facts about the file at `path`; None if it is no ELF file."""
    with open(path, "rb") as file:
        return _read(file)


def _read(file: BinaryIO) -> Elf | None:
    head = file.read(64)
    if head[:4] != b"\x7fELF" or len(head) < 52:
        return None
    order = ">" if head[5] == 2 else "<"
    bits = 32 if head[4] == 1 else 64
    (machine,) = struct.unpack_from(order + "H", head, 18)
    interpreter = ""
    try:
        for kind, offset, size in _segments(file, head, order, bits):
            if kind == PT_INTERP:
                file.seek(offset)
                interpreter = file.read(min(size, 4096)).rstrip(b"\0").decode(errors="replace")
    except struct.error:
        pass  # cut short: the kernel will say what it thinks of it
    return Elf(bits, machine, interpreter)


def _segments(file: BinaryIO, head: bytes, order: str, bits: int) -> list[tuple[int, int, int]]:
    if bits == 32:
        (start,) = struct.unpack_from(order + "I", head, 28)
        width, count = struct.unpack_from(order + "HH", head, 42)
        at_offset, at_size, word = 4, 16, "I"
    else:
        (start,) = struct.unpack_from(order + "Q", head, 32)
        width, count = struct.unpack_from(order + "HH", head, 54)
        at_offset, at_size, word = 8, 32, "Q"
    file.seek(start)
    table = file.read(width * count)
    found = []
    for index in range(count):
        base = index * width
        (kind,) = struct.unpack_from(order + "I", table, base)
        (offset,) = struct.unpack_from(order + word, table, base + at_offset)
        (size,) = struct.unpack_from(order + word, table, base + at_size)
        found.append((kind, offset, size))
    return found


def exports(path: str, symbol: str) -> bool:
    """Tell if the 64-bit shared library at `path` defines `symbol` for others to bind to."""
    with open(path, "rb") as file:
        data = file.read()
    if data[:4] != b"\x7fELF" or len(data) < 64 or data[4] != 2:
        return False
    order = ">" if data[5] == 2 else "<"
    wanted = symbol.encode() + b"\0"
    try:
        (start,) = struct.unpack_from(order + "Q", data, 40)
        width, count = struct.unpack_from(order + "HH", data, 58)
        sections = [struct.unpack_from(order + "IIQQQQIIQQ", data, start + i * width)
                    for i in range(count)]  # fmt: skip
        for section in sections:
            if section[1] != SHT_DYNSYM:
                continue
            names = sections[section[6]][4]
            for at in range(section[4], section[4] + section[5], 24):
                name, info, _, home = struct.unpack_from(order + "IBBH", data, at)
                if home and info >> 4 and data.startswith(wanted, names + name):
                    return True
    except (struct.error, IndexError):
        pass
    return False
