from __future__ import annotations

import pickle

import pytest

from interleave_rt import errors

CLASSES = [getattr(errors, name) for name in errors.__all__ if name.endswith("Error")]


def test_every_class_is_reached_by_its_code_and_is_distinct():
    for cls in CLASSES:
        error = errors.from_code(cls.code, "text", hint="do this")
        assert type(error) is cls
        assert (error.message, error.hint, str(error)) == ("text", "do this", "text")
    for name in ("code", "http_status", "exit_code"):
        assert len({getattr(cls, name) for cls in CLASSES}) >= len(CLASSES) - (name == "http_status")


def test_exit_codes_and_statuses_are_the_documented_ones():
    table = {cls.code: (cls.http_status, cls.exit_code) for cls in CLASSES}
    assert table == {
        "internal": (500, 1),
        "bad_request": (400, 2),
        "bad_pack": (500, 3),
        "limit_exceeded": (413, 4),
        "backend_failed": (502, 5),
        "deadline": (504, 6),
        "overloaded": (429, 7),
        "cancelled": (499, 130),
    }


def test_an_unknown_code_is_the_root_class():
    assert type(errors.from_code("nonsense", "x")) is errors.InterleaveError


@pytest.mark.parametrize("cls", CLASSES)
def test_errors_travel_between_processes(cls):
    error = pickle.loads(pickle.dumps(cls("what", hint="next")))
    assert type(error) is cls
    assert error.as_dict() == {"code": cls.code, "message": "what", "hint": "next"}
    assert error.partial is None
