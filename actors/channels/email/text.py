"""Making a stranger's text safe to print on one line of a header, a plain-text part or a page."""

from __future__ import annotations

import re

# What can break a line, forge one, or turn the reading order of what follows (Unicode TR 36, 2.8), and what
# XML 1.0 or UTF-8 can't carry at all: a lone surrogate from a JSON escape, for one.
_UNPRINTABLE = re.compile(
    "[\x00-\x20\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff\ud800-\udfff]+"
)


def one_line(text: str, longest: int) -> str:
    """`text` on one line: control characters and runs of blanks become one blank, the end is cut.

    Args:
        text: from anywhere.
        longest: characters to keep; longer text ends in an ellipsis.
    """
    # Cut before the search too: the input may be megabytes.
    line = _UNPRINTABLE.sub(" ", text[: longest * 4]).strip()
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
