"""Untrusted text: invisible characters, and printing on one line."""

from __future__ import annotations

import re

#: Characters that can break or forge a line, or change the reading order (Unicode TR 36, 2.8), and those that
#: XML 1.0 or UTF-8 can't represent. The content of a character class, for Python and ECMAScript.
_HIDDEN_SCALARS = r"\u0000-\u0020\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\ufffe\uffff"
HIDDEN = rf"{_HIDDEN_SCALARS}\ud800-\udfff"

#: Text with at least one visible character.
VISIBLE_PATTERN = rf"[^{HIDDEN}]"

#: The same for text without surrogates: some regular expression engines reject them in a pattern.
VISIBLE_SCALAR_PATTERN = rf"[^{_HIDDEN_SCALARS}]"

#: An id, which is shown, scanned, and compared verbatim. It has no invisible or replacement characters, and
#: may contain, but not consist of, spaces.
ID_PATTERN = rf"^ *[^{HIDDEN}\ufffd]+(?: +[^{HIDDEN}\ufffd]+)* *$(?!\n)"

_HIDDEN = re.compile(f"[{HIDDEN}]+")


def one_line(text: str, longest: int) -> str:
    """Return `text` on one line: control characters and runs of spaces become one space, and long text is
    truncated.

    Args:
        text: untrusted text.
        longest: maximum number of characters; longer text ends in an ellipsis.
    """
    line = _HIDDEN.sub(" ", text).strip(" ")
    return line if len(line) <= longest else line[: longest - 1].rstrip() + "…"
