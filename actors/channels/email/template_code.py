"""Each template is compiled once in a process, for all languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jinja2 import BytecodeCache

if TYPE_CHECKING:
    from types import CodeType

    from jinja2.bccache import Bucket


class SharedCode(BytecodeCache):
    """Keeps the compiled code of templates in memory, for environments that differ only in their functions.

    Translations are looked up when a template is rendered, so its code is the same in every language.
    """

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType | None] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Give `bucket` the code of its template, if its source was compiled before."""
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the code in `bucket`."""
        self._code[bucket.key, bucket.checksum] = bucket.code
