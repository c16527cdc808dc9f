"""The code that opens the door: a booking number as a QR code."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from functools import lru_cache

import segno

#: Pixels: what a scanner reads off a phone at arm's length.
_LEAST = 232

#: Modules around the code that stay white (ISO/IEC 18004, 5.3.8).
_QUIET = 4

_WHITE = "1"


@lru_cache(maxsize=512)
def qr_png(text: str) -> tuple[bytes, int]:
    """A PNG of `text`, with error correction M, and its width and height in pixels."""
    code = segno.make(text, error="m", micro=False, boost_error=False)
    size = int(code.symbol_size(border=_QUIET)[0])
    scale = -(-_LEAST // size)
    border = [_WHITE * size] * _QUIET
    side = _WHITE * _QUIET
    rows = (side + "".join("0" if dark else _WHITE for dark in row) + side for row in code.matrix)
    return _png([*border, *rows, *border], scale), size * scale


def _png(rows: Iterable[str], scale: int) -> bytes:
    """A picture in black and white: PNG, https://www.w3.org/TR/png-3/, with one bit for each pixel.

    segno writes PNG, too, but pixel by pixel in Python: that took as long as all of the mail's HTML.

    Args:
        rows: of a square, a digit for each module: 0 is black.
        scale: pixels of a module's side.
    """
    lines = []
    for row in rows:
        bits = "".join(module * scale for module in row)
        width = len(bits)
        padded = bits.ljust(-(-width // 8) * 8, "0")
        line = b"\0" + int(padded, 2).to_bytes(len(padded) // 8, "big")  # 0: this line is not filtered
        lines.append(line * scale)
    head = struct.pack(">2I5B", width, width, 1, 0, 0, 0, 0)  # one bit, greyscale, not interlaced
    chunks = {b"IHDR": head, b"IDAT": zlib.compress(b"".join(lines), 9), b"IEND": b""}
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)
