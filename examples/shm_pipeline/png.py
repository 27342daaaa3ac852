"""png.py - writes an RGB image as PNG with the standard library, and reads it again."""

from __future__ import annotations

import struct
import zlib

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(kind: bytes, data: bytes) -> bytes:
    """Length, kind, data, checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode(image: np.ndarray) -> bytes:
    """Make a PNG of an array of bytes, shape (height, width, 3)."""
    height, width, _ = image.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # a 0 before each row: no filter
    rows[:, 1:] = image.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    packed = zlib.compress(rows.tobytes(), 3)
    return SIGNATURE + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def decode(data: bytes) -> np.ndarray:
    """Read what `encode` made; ValueError if a byte of it is missing or wrong."""
    if not data.startswith(SIGNATURE):
        raise ValueError("no PNG")
    offset, found = len(SIGNATURE), {}
    while offset + 12 <= len(data):
        (size,) = struct.unpack_from(">I", data, offset)
        kind, body = data[offset + 4 : offset + 8], data[offset + 8 : offset + 8 + size]
        if chunk(kind, body) != data[offset : offset + 12 + size]:
            raise ValueError(f"chunk {kind!r} is damaged")
        found[kind] = body
        offset += 12 + size
    if offset != len(data) or b"IEND" not in found:
        raise ValueError("the end is missing")
    width, height = struct.unpack_from(">II", found[b"IHDR"])
    rows = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8)
    return rows.reshape(height, 1 + 3 * width)[:, 1:].reshape(height, width, 3)
