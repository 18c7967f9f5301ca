"""What is read of an organization, and who sees its officers?"""

import pytest

from domain.errors import NotFound
from domain.organization import AddAffiliate, ChangeOrganization, EndAppointment
from projections import organizations
from projections.pages import Asked
from tests.projections.shelf import Connection, as_, tell
from tests.spec import cast, instant


async def test_officers_see_who_holds_which_office_from_when_until_when(log: str, conn: Connection) -> None:
    story = cast().at("2026-07-01T00:00:00Z").given(EndAppointment("commerce", "cora", "reviewer"))
    await tell(log, story)
    found = await organizations.detail(conn, as_("olga"), "commerce")
    assert (found["kind"], found["government"], found["closed"]) == ("agency", True, False)
    assert found["appointments"][2] == {
        "person": "cora",
        "role": "reviewer",
        "from": "2026-06-20T13:00:00Z",
        "until": "2026-07-01T00:00:00Z",
    }
    assert instant(found["appointments"][0]["from"]) == instant("2026-06-20T13:00:00Z")


async def test_applicants_see_the_organization_without_its_people(log: str, conn: Connection) -> None:
    story = cast().given(AddAffiliate("northwind", "northwind-uk", "Northwind UK", "GB"))
    await tell(log, story)
    found = await organizations.detail(conn, as_("nina"), "northwind")
    assert found["affiliates"] == [{"id": "northwind-uk", "name": "Northwind UK", "country": "GB"}]
    assert found["version"] == 2
    assert "nina" not in str(found)


async def test_lists_are_filtered_by_kind_and_show_the_past(log: str, conn: Connection) -> None:
    story = cast()
    before = story.facts[-1].position
    await tell(log, story.given(ChangeOrganization("tinker", name="Tinker Ltd", closed=True)))
    customers = (await organizations.page(conn, as_("ada"), kind="customer")).items
    assert [(item["id"], item["name"], item["closed"]) for item in customers] == [
        ("northwind", "Northwind Bank", False),
        ("tinker", "Tinker Ltd", True),
    ]
    then = (await organizations.page(conn, as_("ada"), Asked(at=before), kind="customer")).items
    assert then[1]["name"] == "Tinker Labs"
    with pytest.raises(NotFound):
        await organizations.detail(conn, as_("ada"), "nobody")
