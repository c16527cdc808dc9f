"""The suppression list: recipients who get no more messages over a channel.

`store` reads and writes it, `addresses` computes its keys, `pause` stops it while too many messages bounce.
"""

from app.models.suppression import SuppressionReason
from app.suppressions.store import Result, Suppressions, make_suppressions

__all__ = ["Result", "SuppressionReason", "Suppressions", "make_suppressions"]
