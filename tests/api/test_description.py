"""The description of the API is true: whatever it allows or forbids is answered as it says."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.generation import GenerationMode

from .conftest import make_asking, make_node

load_all_checks()
CHECKED = CHECKS.get_by_names([
    "not_a_server_error", "status_code_conformance", "content_type_conformance", "response_schema_conformance",
])  # fmt: skip


@pytest.fixture(scope="module")
def asking():
    node = make_node(body=1 << 16)
    yield make_asking(node)
    node.stop()


@pytest.fixture(scope="module")
def schema(asking):
    """All that ends: event streams have tests of their own."""
    return schemathesis.openapi.from_asgi("/v1/openapi.json", asking.app).exclude(path_regex="/events$")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("mode", "examples"), [(GenerationMode.POSITIVE, 10), (GenerationMode.NEGATIVE, 6)])
def test_answers_are_as_described(schema, asking, mode, examples):
    headers = {"Authorization": f"Bearer {asking.keyed('all')}"}
    tried = 0
    for found in schema.get_all_operations():
        operation = found.ok()

        @given(case=operation.as_strategy(generation_mode=mode))
        @settings(
            max_examples=examples, derandomize=True, database=None, phases=[Phase.generate], deadline=None,
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def answered(case):
            case.call_and_validate(headers=headers, checks=CHECKED)

        try:
            answered()
        except Unsatisfiable:
            continue  # a route without parameters cannot be asked wrongly
        tried += 1
    assert tried > 15
