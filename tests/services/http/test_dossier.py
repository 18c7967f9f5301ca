"""Does the dossier of a request tell each reader all that they may know, in a page that needs nothing else?"""

import re
import time
from html import unescape

import pytest

from tests.services.http.conftest import Ask, Service
from tests.services.http.test_app import Links
from tests.services.http.test_commands import APPROVE, problem
from tests.services.http.test_queries import approved


def page(service: Service, person: str, id: str, query: str = "") -> str:
    response = service.get(person, f"/requests/{id}/dossier{query}")
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    return response.text


def cells(text: str) -> list[str]:
    return [unescape(each) for each in re.findall("<td[^>]*>(.*?)</td>", text, re.DOTALL)]


def test_an_officer_reads_terms_tree_happenings_receipts_and_checkpoint(service: Service, request_of: Ask) -> None:
    id = request_of()
    position = approved(service, id)
    history = service.read("olga", f"/requests/{id}/history", position)["items"]
    text = page(service, "olga", id)
    found = cells(text)
    assert "All of" in found and "olga: approve" in found
    assert "commerce, countersigned" in found and "cora: approve, countersigned by carl" in found
    for entry in history:
        assert any(each.startswith(entry["text"]) for each in found)
        assert str(entry["position"]) in found and f"<code>{entry['receipt']['leaf']}</code>" in found
    assert "Fraud analysis" in found
    assert f"as of position {service.get('abe', '/events?limit=1').json()['position']} of the log" in text


def test_it_says_which_happenings_a_checkpoint_covers(service: Service, request_of: Ask) -> None:
    id = request_of()
    for _ in range(100):
        text = page(service, "abe", id)
        if "not yet" not in text:
            break
        time.sleep(0.05)
    note = service.get("abe", "/log/checkpoint").text
    assert note.splitlines()[0] in text and cells(text).count("yes") >= 2


def test_an_applicant_reads_nothing_of_the_deliberations(service: Service, request_of: Ask) -> None:
    id = request_of()
    service.done("olga", f"/requests/{id}/sign-offs", {**APPROVE, "reason": "I trust them"})
    text = page(service, "nina", id)
    assert "Fraud analysis" in text and "commerce, countersigned" in text
    assert not re.search("olga|trust|AgencySignedOff|no position", text)
    assert "olga: approve" in page(service, "cora", id)


def test_who_may_not_read_the_request_has_no_dossier(service: Service, request_of: Ask) -> None:
    id = request_of()
    service.done("root", f"/requests/{id}/recusals", {"person": "hana"})
    for person in ("tom", "hana", "ann"):
        problem(service.get(person, f"/requests/{id}/dossier"), 404, "need_to_know")
    problem(service.get("abe", "/requests/unknown/dossier"), 404, "need_to_know")


def test_it_can_be_had_as_it_was(service: Service, request_of: Ask) -> None:
    id = request_of()
    before = service.get("abe", "/events?limit=1").json()["position"]
    approved(service, id)
    then = page(service, "abe", id, f"?at={before}")
    assert "<strong>in review</strong>" in then and "olga: approve" not in then
    assert "<strong>approved</strong>" in page(service, "abe", id)
    assert "<strong>in review</strong>" in page(service, "abe", id, f"?occurred_at=2190-01-01T00:00:00Z&at={before}")
    problem(service.get("abe", f"/requests/{id}/dossier?at={before - 100000}"), 400, "parameters")


@pytest.mark.parametrize("text", ["<script>alert(1)</script>", "{{ 7 * 7 }}", '"><img src=x onerror=alert(1)>'])
def test_what_somebody_wrote_stays_a_text(service: Service, text: str) -> None:
    body = {"customer": "northwind", "release": "gpt-5.6", "use": text, "user_classes": ["us_person"]}
    id = service.done("nina", "/requests", body)["id"]
    shown = page(service, "nina", id)
    assert text in unescape(shown)
    links = Links(shown)
    assert (links.found, links.styled, links.tags & {"script", "style", "img", "iframe"}) == (
        ["/docs/page.css"],
        [],
        set(),
    )


def test_it_is_recorded_that_somebody_read_it(service: Service, request_of: Ask) -> None:
    id = request_of()
    page(service, "nina", id)
    (record,) = service.get("abe", f"/trail?subject=request-{id}&person=nina").json()["items"]
    assert (record["type"], record["data"]["address"]) == ("DocumentRead", "/api/v1/requests/{id}/dossier")
