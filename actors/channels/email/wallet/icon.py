"""The icon of Apple Wallet passes: a white ticket on the brand's color. Mail programs show it next to the
file."""

from __future__ import annotations

from actors.channels.email.png import png

#: Points of a side, from Apple's documentation.
_SIZE = 29

#: Geometry of the ticket, in points: edges, notch radius, and perforation.
_LEFT, _RIGHT, _TOP, _BOTTOM = 4, 24, 8, 20
_NOTCH = 2.5
_TEAR = 17


def icon(color: str, scale: int) -> bytes:
    """Return the icon as PNG.

    Args:
        color: `#rrggbb`.
        scale: pixels for each point.
    """
    rows = ("".join("1" if _is_white(x, y) else "0" for x in range(_SIZE)) for y in range(_SIZE))
    return png(rows, scale, (color, "#ffffff"))


def _is_white(x: int, y: int) -> bool:
    middle = (_TOP + _BOTTOM) / 2
    inside = _LEFT <= x <= _RIGHT and _TOP <= y <= _BOTTOM
    notched = min(abs(x - _LEFT), abs(x - _RIGHT)) ** 2 + (y - middle) ** 2 <= _NOTCH**2
    return inside and not notched and not (x == _TEAR and y % 2)
