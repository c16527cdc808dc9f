"""WCAG contrast ratio of two colors: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""

from __future__ import annotations

#: Minimum of WCAG 2.2 level AA for text of normal size.
MINIMUM_CONTRAST = 4.5

_LINEAR_BELOW = 0.04045


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colors, each `#rrggbb`: 1 (the same color) to 21 (black on white)."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(color: str) -> float:
    red, green, blue = (_linear(int(color[start : start + 2], 16) / 255) for start in (1, 3, 5))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= _LINEAR_BELOW else float(((channel + 0.055) / 1.055) ** 2.4)
