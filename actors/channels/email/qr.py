"""QR codes of tickets, as PNG."""

from __future__ import annotations

from typing import Any

import zxingcpp

from actors.channels.email.png import png

#: Pixels that a scanner can read from a phone at arm's length.
_MIN_SIZE_PIXELS = 232

#: zxing's pixels, black and white, as digits.
_DIGITS = bytes.maketrans(b"\x00\xff", b"01")


def qr_png(text: str) -> tuple[bytes, int]:
    """Return a QR code of `text` as PNG, with error correction M, and its width and height in pixels.

    The code has a quiet zone of four modules (ISO/IEC 18004, 5.3.8).
    """
    code = zxingcpp.create_barcode(text, zxingcpp.BarcodeFormat.QRCode, ec_level="M")
    image: Any = code.to_image(scale=1, add_quiet_zones=True)
    modules = memoryview(image)
    size = len(modules)
    scale = -(-_MIN_SIZE_PIXELS // size)
    digits = modules.tobytes().translate(_DIGITS).decode("ascii")
    return png((digits[start : start + size] for start in range(0, size * size, size)), scale), size * scale
