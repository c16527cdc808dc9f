"""Write two-color PNG images (https://www.w3.org/TR/png-3/)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable

#: Color types: greyscale, and a palette.
_GREYSCALE, _PALETTE = 0, 3


def png(rows: Iterable[str], scale: int, colors: tuple[str, str] | None = None) -> bytes:
    """Return a PNG with one bit for each pixel.

    Args:
        rows: rows of a square, one digit for each module.
        scale: side of a module in pixels.
        colors: `#rrggbb` of 0 and 1; default: black and white.
    """
    lines = []
    for row in rows:
        bits = "".join(module * scale for module in row)
        width = len(bits)
        padded = bits.ljust(-(-width // 8) * 8, "0")
        line = b"\0" + int(padded, 2).to_bytes(len(padded) // 8, "big")  # 0: this line is not filtered
        lines.append(line * scale)
    color_type = _PALETTE if colors else _GREYSCALE
    chunks = {b"IHDR": struct.pack(">2I5B", width, width, 1, color_type, 0, 0, 0)}  # one bit, not interlaced
    if colors:
        chunks[b"PLTE"] = bytes.fromhex("".join(color.removeprefix("#") for color in colors))
    chunks |= {b"IDAT": zlib.compress(b"".join(lines)), b"IEND": b""}
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)
