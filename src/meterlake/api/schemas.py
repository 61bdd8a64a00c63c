"""Shapes of what goes in and comes out, as JSON Schema."""

from __future__ import annotations

from typing import Any, Final

from meterlake.readings import QUALITY_NAMES, REASONS

_TEXT: Final = {"type": "string"}
_MAYBE: Final = {"type": ["string", "null"]}
_WHOLE: Final = {"type": "integer"}
_NUMBER: Final = {"type": "number"}
_AMOUNT: Final = {
    "type": ["number", "null"],
    "description": "In `unit`, at most six decimals; null where empty.",
}
_MOMENT: Final = {"type": "string", "format": "date-time"}
_QUALITY: Final = {"type": "string", "enum": list(QUALITY_NAMES)}


def _object(properties: dict[str, Any], *optional: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _page(items: dict[str, Any]) -> dict[str, Any]:
    return _object({"items": _list(items), "next": {**_MAYBE, "description": "Cursor of the next page."}})


def _later(properties: dict[str, Any]) -> dict[str, Any]:
    """Describe what is null until it was worked out for the first time."""
    return {"oneOf": [{"type": "null"}, _object(properties)]}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


_PLACE: Final = {
    "class": _MAYBE,
    "latitude": {"type": ["number", "null"]},
    "longitude": {"type": ["number", "null"]},
    "geohash": _MAYBE,
    "zone": _MAYBE,
}
_METER: Final = {
    "meter_id": _TEXT, "service_point_id": _MAYBE, "channels": _list(_TEXT), "interval_s": {"type": ["integer", "null"]},
    "from": _MAYBE, "to": _MAYBE, **_PLACE,
}  # fmt: skip
_POINT: Final = {
    "service_point_id": _TEXT, "from": _MAYBE, "to": _MAYBE, **_PLACE, "tariff": _MAYBE, "feeder": _MAYBE,
    "transformer": _MAYBE,
}  # fmt: skip
_VALUE: Final = _object(
    {
        "start": _MOMENT, "seconds": _WHOLE, "value": _AMOUNT, "quality": _QUALITY, "filled": _WHOLE, "expected": _WHOLE,
        "estimated": {**_WHOLE, "description": "Of the filled slots those that are estimated."},
    },
    "quality", "filled", "expected", "estimated",
)  # fmt: skip
_HISTORY: Final = _object(
    {
        "id": _TEXT, "channel": _TEXT, "unit": _TEXT, "zone": _TEXT, "step": _TEXT, "from": _MOMENT, "to": _MOMENT,
        "version": _WHOLE, "values": _list(_VALUE), "passport": _ref("Passport"),
    }
)  # fmt: skip
_SPAN: Final = {"from": _MOMENT, "to": _MOMENT, "value": _AMOUNT, "passport": _ref("Passport")}
_READING: Final = _object(
    {
        "meter": _TEXT, "channel": _TEXT, "start": _MOMENT, "seconds": _WHOLE, "value": _NUMBER, "unit": _TEXT,
        "quality": _QUALITY,
    },
    "channel", "seconds", "unit", "quality",
)  # fmt: skip
_DEFAULTS: Final = {
    "type": "object",
    "properties": {"channel": _TEXT, "seconds": _WHOLE, "unit": _TEXT, "quality": _QUALITY},
}

_MONEY: Final = {
    "use": {**_MAYBE, "description": "For what was used, an exact decimal in the currency."},
    "standing": {**_MAYBE, "description": "For the days that began."},
    "cost": {**_MAYBE, "description": "Both together."},
    "estimated": {**_MAYBE, "description": "Of `use`, what rests on estimated readings."},
}

SCHEMAS: Final[dict[str, Any]] = {
    "Problem": _object(
        {
            "type": _TEXT,
            "title": _TEXT,
            "status": _WHOLE,
            "detail": _TEXT,
            "remedy": _TEXT,
            "errors": _list(_object({"line": _WHOLE, "reason": _TEXT})),
        },
        "errors",
    ),
    "Passport": _object(
        {
            "expected": _WHOLE,
            "filled": _WHOLE,
            "missing": _WHOLE,
            "shares": {"type": "object", "additionalProperties": _NUMBER},
            "newest_received_at": _MAYBE,
        }
    ),
    "Meters": _page(_object(_METER)),
    "ServicePoints": _page(_object(_POINT)),
    "Meter": _object(
        {**_METER, "stays": _list(_object({"service_point_id": _TEXT, "from": _MAYBE, "to": _MAYBE}))}
    ),
    "ServicePoint": _object(
        {**_POINT, "meters": _list(_object({"meter_id": _TEXT, "from": _MAYBE, "to": _MAYBE}))}
    ),
    "History": {"oneOf": [_HISTORY, _list(_HISTORY)]},
    "Usage": _object(
        {
            "id": _TEXT,
            "zone": _TEXT,
            "until": _MOMENT,
            "channels": {
                "type": "object",
                "additionalProperties": _object(
                    {
                        "unit": _TEXT,
                        "ranges": {
                            "type": "object",
                            "additionalProperties": _object({**_SPAN, "previous": _object(_SPAN)}),
                        },
                    }
                ),
            },
        }
    ),
    "Neighbours": _object(
        {
            "id": _TEXT, "channel": _TEXT, "unit": _TEXT, "zone": _TEXT, "step": _TEXT, "from": _MOMENT, "to": _MOMENT,
            "suppressed": {"type": "boolean"},
            "group": {
                "oneOf": [
                    {"type": "null"},
                    _object({"class": _MAYBE, "region": _TEXT, "members": {**_WHOLE, "description": "Other homes."}}),
                ]
            },
            "values": _list(_object({"start": _MOMENT, "seconds": _WHOLE, "own": _AMOUNT, "group_mean": _AMOUNT})),
        }
    ),
    "Costs": _object(
        {
            "id": _TEXT, "zone": _TEXT, "from": _MOMENT, "to": _MOMENT, "version": _WHOLE, "tariffs": _list(_TEXT),
            "currency": {**_MAYBE, "description": "Null where no tariff is known; then no sum is."}, **_MONEY,
            "channels": {
                "type": "object",
                "additionalProperties": _object(
                    {
                        "unit": _TEXT, "value": _AMOUNT, **_MONEY,
                        "unpriced": {**_NUMBER, "description": "What has no price, in `unit`."},
                        "passport": _ref("Passport"),
                    }
                ),
            },
        }
    ),
    "Silent": _object(
        {
            "at": _MOMENT, "meters": {**_WHOLE, "description": "Installed now."},
            "total": {**_WHOLE, "description": "Silent as asked."},
            "items": _list(
                _object(
                    {
                        "meter_id": _TEXT, "service_point_id": _MAYBE, "class": _MAYBE, "geohash": _MAYBE,
                        "zone": _MAYBE, "channels": _list(_TEXT),
                        "newest": {**_MAYBE, "description": "End of the newest interval; null: none ever came."},
                        "silent_s": {"type": ["integer", "null"], "description": "Null: nobody knows since when."},
                    }
                )
            ),
            "next": {**_MAYBE, "description": "Cursor of the next page."},
        }
    ),
    "Pulse": _object(
        {
            "at": _MOMENT, "zone": _TEXT, "ready": {"type": "boolean"}, "trouble": _list(_TEXT),
            "accepted": _object(
                {
                    "last_10_s": {**_NUMBER, "description": "Readings a second."},
                    "last_60_s": _NUMBER,
                    "seconds": {**_list(_WHOLE), "description": "Readings of each of the last 60 seconds."},
                }
            ),
            "newest_received_at": _MAYBE,
            "freshness_s": {"type": ["number", "null"], "description": "Since the newest reading came."},
            "waiting": _object({"batches": _WHOLE, "bytes": _WHOLE}),
            "quarantine": _later({"today": _WHOLE, "total": _WHOLE}),
            "completeness": _later(
                {
                    "at": _MOMENT, "from": _MOMENT,
                    "share": {"type": ["number", "null"], "description": "Of the time that is due, what came."},
                    "channels": _list(
                        _object(
                            {
                                "channel": _TEXT, "expected": _WHOLE, "filled": _WHOLE, "share": _NUMBER,
                                "longest_s": {**_WHOLE, "description": "Longest interval of today, in seconds."},
                            }
                        )
                    ),
                }
            ),
            "silent": _later(
                {"meters": _WHOLE, "never": _WHOLE, "over": _list(_object({"seconds": _WHOLE, "meters": _WHOLE}))}
            ),
        }
    ),
    "Values": _object({"values": _list({"type": "object"})}),
    "LiveMeter": _object(
        {"id": _TEXT, "values": _list({"type": "object"}), "recent": _list({"type": "object"})}
    ),
    "Items": _page({"type": "object"}),
    "Batch": _object(
        {
            "batch_id": _TEXT, "received": _WHOLE, "accepted": _WHOLE, "duplicate": _WHOLE, "rejected": _WHOLE,
            "errors": _list({"type": "object"}), "owner": _TEXT, "state": {"type": "string", "enum": ["live", "sealed"]},
            "slots": {"type": "object", "additionalProperties": _WHOLE},
        },
        "slots",
    ),
    "BatchReceipt": _object(
        {
            "batch_id": _TEXT,
            "received": _WHOLE,
            "accepted": _WHOLE,
            "duplicate": _WHOLE,
            "rejected": _WHOLE,
            "errors": _list(
                _object(
                    {
                        "line": _WHOLE,
                        "reason": {"type": "string", "enum": list(REASONS)},
                        "text": _MAYBE,
                        "count": _WHOLE,
                    },
                    "text",
                    "count",
                )
            ),
            "replayed": {"type": "boolean"},
        }
    ),
    "Batch.json": {
        "oneOf": [
            _READING,
            _list(_READING),
            _object({"defaults": _DEFAULTS, "readings": _list(_READING)}, "defaults"),
        ]
    },
    "Health": _object({"alive": {"type": "boolean"}}),
    "Ready": _object({"ready": {"type": "boolean"}, "reasons": _list(_TEXT)}),
}  # fmt: skip
