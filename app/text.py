"""Text from strangers: which characters can't be shown, and how the rest is printed on one line."""

from __future__ import annotations

import re

#: What can break a line, forge one, or turn the reading order of what follows (Unicode TR 36, 2.8), and what
#: XML 1.0 or UTF-8 can't carry. As the inside of a character class, for Python and for ECMAScript.
HIDDEN = r"\u0000-\u0020\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff"

#: Text with at least one character to show.
VISIBLE_PATTERN = rf"[^{HIDDEN}]"

#: An id: shown, scanned, and compared as it is. It has nothing hidden, and nothing that was lost on the way.
#: Blanks may stand in it, but not alone.
ID_PATTERN = rf"^ *[^{HIDDEN}\ufffd]+(?: +[^{HIDDEN}\ufffd]+)* *$(?!\n)"

_HIDDEN = re.compile(f"[{HIDDEN}]+")


def one_line(text: str, longest: int) -> str:
    """Return `text` on one line: control characters and runs of blanks become one blank, the end is cut.

    Args:
        text: from anywhere.
        longest: characters to keep; longer text ends in an ellipsis.
    """
    line = _HIDDEN.sub(" ", text).strip(" ")
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
