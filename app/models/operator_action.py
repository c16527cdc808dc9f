"""The audit log of operators' actions. Append-only."""

from __future__ import annotations

from typing import Any, ClassVar

from mongoengine import DateTimeField, DictField, StringField

from app.models.database import Record


class OperatorAction(Record):
    """One action of an operator, without customers' personal data.

    Only `app.operations.audit` writes this collection. Actions are never changed or deleted.
    """

    at = DateTimeField(required=True)
    #: The operator: `user@host` on the command line, the name of an API key in the dashboard.
    operator = StringField(required=True)
    #: Where the operator acted: cli or dashboard.
    surface = StringField(required=True)
    #: Id of the operator's API key in the dashboard; unset if the dashboard needs no key.
    key_id = StringField()
    #: The action, for example `payments.cancel`.
    action = StringField(required=True)
    #: Id of the object of the action, for example a payment.
    target = StringField(required=True)
    #: Further details of the action: reasons, amounts, ids.
    details = DictField()

    meta: ClassVar[dict[str, Any]] = {
        "collection": "operator_actions",
        "indexes": [{"fields": ["-at", "-id"]}, {"fields": ["target", "-at"]}],
    }
