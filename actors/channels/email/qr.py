"""QR codes of tickets, as PNG."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import Any

import zxingcpp

#: Pixels: what a scanner reads off a phone at arm's length.
_MIN_SIZE_PIXELS = 232

#: zxing's pixels, black and white, as digits.
_DIGITS = bytes.maketrans(b"\x00\xff", b"01")


def qr_png(text: str) -> tuple[bytes, int]:
    """Return a QR code of `text` as PNG, with error correction M, and its width and height in pixels.

    Around the code four modules stay white (ISO/IEC 18004, 5.3.8).
    """
    code = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level="M")
    image: Any = code.to_image(scale=1, add_quiet_zones=True)
    modules = memoryview(image)
    size = len(modules)
    scale = -(-_MIN_SIZE_PIXELS // size)
    digits = modules.tobytes().translate(_DIGITS).decode("ascii")
    return _png((digits[start : start + size] for start in range(0, size * size, size)), scale), size * scale


def _png(rows: Iterable[str], scale: int) -> bytes:
    """Return a black and white PNG (https://www.w3.org/TR/png-3/) with one bit for each pixel.

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
    chunks = {b"IHDR": head, b"IDAT": zlib.compress(b"".join(lines)), b"IEND": b""}
    written = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(written)
