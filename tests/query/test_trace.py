from __future__ import annotations

import pytest

from mmsearch.query.trace import Trace


def test_steps_come_in_order_with_what_they_left_and_how_long_they_took() -> None:
    trace = Trace()
    with trace.step("filter", where="image") as step:
        step.candidates = 1234
        step.detail = "asked the catalog"
    with trace.step("vectors", "flat", "image"):
        pass
    rows = [step.to_dict() for step in trace.steps]
    assert [(row["step"], row["where"], row["candidates"]) for row in rows] == [
        ("filter", "image", 1234),
        ("vectors", "image", None),
    ]
    assert all(row["ms"] >= 0 for row in rows)
    heading, first, second = trace.lines()
    assert heading.split() == ["step", "where", "left", "time", "how"]
    assert "1,234" in first and first.endswith("asked the catalog")
    assert second.startswith("vectors  image") and second.endswith("flat")


def test_a_step_that_fails_is_told_as_well() -> None:
    trace = Trace()
    with pytest.raises(ValueError), trace.step("embed"):
        raise ValueError
    assert [step.name for step in trace.steps] == ["embed"] and trace.steps[0].seconds > 0
