"""The audit log of operators' actions. Append-only."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import DateTimeField, DictField, StringField

from app.models.database import Record


class OperatorAction(Record):
    """One action of an operator, without customers' personal data.

    Only `app.operations.audit` writes these. None is ever changed or deleted.
    """

    at = DateTimeField(required=True)
    #: The operator: `user@host` on the command line, the name of an API key in the dashboard.
    operator = StringField(required=True)
    #: cli or dashboard.
    surface = StringField(required=True)
    #: In the dashboard: the id of the API key. Unset if the dashboard needs no key.
    key_id = StringField()
    #: The action, for example `payments.cancel`.
    action = StringField(required=True)
    #: The id of its target.
    target = StringField(required=True)
    #: Further details: reasons, amounts, ids.
    details = DictField()

    meta: ClassVar[dict[str, Any]] = {
        "collection": "operator_actions",
        "indexes": [{"fields": ["-at", "-id"]}, {"fields": ["target", "-at"]}],
    }
