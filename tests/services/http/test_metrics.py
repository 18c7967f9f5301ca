"""Does /metrics tell what was appended and refused, how far projections are, and to whom how much is read?"""

from collections.abc import Callable
from pathlib import Path

import psycopg
from prometheus_client.parser import text_string_to_metric_families

from projections import PROJECTIONS
from tests.services.http.conftest import ORGANIZATIONS, Service, served, settings_for

Value = Callable[..., float | None]


def told(service: Service, person: str | None = None) -> Value:
    """A function that gives the value of a sample, by its name and some of its labels; None where there is none."""
    answer = service.client.get("/metrics", headers={} if person is None else service.headers(person))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    samples = [sample for family in text_string_to_metric_families(answer.text) for sample in family.samples]

    def value(name: str, **labels: str) -> float | None:
        found = [each.value for each in samples if each.name == name and labels.items() <= each.labels.items()]
        assert len(found) <= 1, f"{name} {labels} is not one sample"
        return found[0] if found else None

    return value


def grown(after: Value, before: Value, name: str, **labels: str) -> float:
    return (after(name, **labels) or 0) - (before(name, **labels) or 0)


def test_commands_are_counted_by_what_became_of_them(service: Service) -> None:
    before = told(service)
    service.done("root", "/organizations", {**ORGANIZATIONS[4], "id": "counted"})
    repeated = service.post("root", "/organizations", {**ORGANIZATIONS[4], "id": "counted"})
    assert repeated.status_code == 409
    assert service.client.post(
        "/api/v1/organizations?dry_run=true", json=ORGANIZATIONS[4], headers=service.headers("root")
    )
    after = told(service)
    assert grown(after, before, "assent_commands_total", outcome="accepted") == 1
    rule = repeated.json()["rule"]
    refused = {"outcome": "refused", "command": "RegisterOrganization", "rule": rule}
    assert grown(after, before, "assent_commands_total", **refused) == 1, "a dry run is none"


def test_appends_are_counted_by_how_many_events_they_have(service: Service) -> None:
    before = told(service)
    for nth in range(3):
        service.done("root", "/organizations", {**ORGANIZATIONS[4], "id": f"appended-{nth}"})
    after = told(service)
    appends = grown(after, before, "assent_append_events_count")
    assert 3 <= appends == grown(after, before, "assent_append_events_bucket", le="+Inf")
    events = grown(after, before, "assent_events_total")
    assert 3 <= events == grown(after, before, "assent_append_events_sum")
    assert events == grown(after, before, "assent_log_size")
    assert 3 <= grown(after, before, "assent_append_events_bucket", le="1.0") <= appends


def test_each_projection_tells_its_position_and_its_lag_and_whether_it_stopped(database: str, tmp_path: Path) -> None:
    with served(settings_for(database, tmp_path)) as service:
        service.read("root", "/organizations", service.done("root", "/organizations", ORGANIZATIONS[0])["position"])
        with psycopg.connect(database, autocommit=True) as conn:
            conn.execute(
                "UPDATE projection SET error = 'ValueError', failed_position = 1, failed_type = 'A'"
                " WHERE name = 'grants'"
            )
            conn.execute(
                "INSERT INTO projection (schema, name, version, role, built, to_build)"
                " VALUES ('policies_v9', 'policies', 9, 'building', 30, 120)"
            )
        value = told(service)
        assert value("assent_projection_stopped", projection="grants") == 1
        size = value("assent_log_size") or 0
        for table in PROJECTIONS:
            position = value("assent_projection_position", projection=table.name, role="live")
            assert position is not None
            assert value("assent_projection_lag", projection=table.name, role="live") == size - 1 - position
        building = {"projection": "policies", "schema": "policies_v9", "role": "building"}
        assert value("assent_projection_built_events", **building) == 30
        assert value("assent_projection_to_build_events", **building) == 120
        checks = {check["name"]: check["detail"] for check in service.client.get("/readyz").json()["checks"]}
        assert checks["rebuild of policies"] == "30 of about 120 facts folded"


def test_how_much_is_read_is_told_to_auditors_and_administrators_only(service: Service) -> None:
    """As with the trail: to others it is nobody's business."""
    service.get("abe", "/organizations")
    counted = {"method": "GET", "address": "/api/v1/organizations", "status": "200"}
    for nobody in (None, "cora", "rae", "nina"):
        assert told(service, nobody)("assent_requests_total", **counted) is None
    before = told(service, "abe")("assent_requests_total", **counted)
    service.get("abe", "/organizations")
    service.get("abe", "/organizations/nobody-of-that-name")
    after = told(service, "root")
    assert before is not None and after("assent_requests_total", **counted) == before + 1
    assert after("assent_requests_total", method="GET", address="/api/v1/organizations/{id}", status="404")


def test_a_token_that_is_none_is_told_nothing(service: Service) -> None:
    assert service.client.get("/metrics", headers={"authorization": "Bearer nonsense"}).status_code == 401
