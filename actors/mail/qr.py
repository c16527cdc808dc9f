"""The code that opens the door: a booking number as a QR code."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO

import segno

#: Pixels: what a scanner reads off a phone at arm's length.
_LEAST = 232

#: Modules around the code that stay white (ISO/IEC 18004, 5.3.8).
_QUIET = 4


@lru_cache(maxsize=512)
def qr_png(text: str) -> tuple[bytes, int]:
    """A PNG of `text`, with error correction M, and its width and height in pixels."""
    code = segno.make(text, error="m", micro=False, boost_error=False)
    modules = int(code.symbol_size(border=_QUIET)[0])
    scale = -(-_LEAST // modules)
    image = BytesIO()
    code.save(image, kind="png", scale=scale, border=_QUIET, light="white")
    return image.getvalue(), modules * scale
