"""A step in the life of an alert as JSON, for those who listen to a Redis. `alert` is what the contract says of an
alert; the step's own words come beside it."""

from __future__ import annotations

import json

from google.protobuf.json_format import MessageToDict

from pilothouse_server.domain.alerts.records import Alert, AlertStep
from pilothouse_server.domain.alerts.states import AlertState
from pilothouse_server.wire.alerts import alert_to_proto, step_to_proto


def encode_alert_event(alert: Alert, step: AlertStep) -> bytes:
    """The JSON of a step. The alert is as it is when this is written, so where steps follow quickly it is ahead."""
    told = MessageToDict(step_to_proto(step))
    return json.dumps(
        {
            "id": f"{alert.id}:{step.position}",
            "occurTime": told["occurTime"],
            "act": step.act.name,
            "fromState": AlertState(step.from_state).name if step.from_state else "",
            "toState": AlertState(step.to_state).name,
            "value": told.get("value"),
            "actor": step.actor,
            "comment": step.comment,
            "alert": MessageToDict(alert_to_proto(alert)),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    ).encode()
