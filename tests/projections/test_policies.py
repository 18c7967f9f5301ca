"""What is read of a policy and its versions?"""

from domain.policy import GrantTerms, PublishPolicy
from projections import policies
from tests.projections.shelf import Connection, as_, tell
from tests.spec import ONCD, preview


async def test_a_policy_shows_its_latest_version_and_all_earlier_ones(log: str, conn: Connection) -> None:
    story = preview()
    first = story.facts[-1].position
    await tell(
        log, story.given(PublishPolicy("frontier-preview", "A new order", ONCD, "escalate", grant=GrantTerms(90)))
    )
    for person in ("nina", "olga"):
        found = await policies.detail(conn, as_(person), "frontier-preview")
        assert (found["policy_version"], found["authority_basis"], found["sign_offs"]["agency"]) == (
            2,
            "A new order",
            "oncd",
        )
        assert [version["grant"]["days"] for version in found["versions"]] == [180, 90]
        earlier = await policies.detail(conn, as_(person), "frontier-preview", at=first)
        assert (earlier["policy_version"], len(earlier["versions"])) == (1, 1)
        assert earlier["clocks"]["information_days"] == 10
    assert [item["id"] for item in (await policies.page(conn, as_("tom"))).items] == ["frontier-preview"]
