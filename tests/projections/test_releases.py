"""What do agencies, providers and the public read of a rollout, now and as of a position?"""

from domain.organization import RegisterOrganization
from domain.release import AnnounceRelease, CloseIncident, OpenIncident, Phase, ResumeRollout, SignOffPhase
from projections import releases
from projections.pages import Asked
from tests.projections.shelf import Connection, as_, tell
from tests.spec import Story, appoint, granted

FOR_OFFICERS_ONLY = {"phase_sign_offs", "held", "holds", "incidents", "admitted"}


def with_an_incident() -> Story:
    story = granted().at("2026-07-07T15:00:00Z")
    return story.given(OpenIncident("gpt-5.6", "high", "A jailbreak chain"), by="rae")


async def test_an_incident_holds_the_rollout_until_it_is_closed_and_resumed(log: str, conn: Connection) -> None:
    story = with_an_incident()
    held = story.facts[-1].position
    story.at("2026-07-12T15:00:00Z").given(CloseIncident("gpt-5.6", 1, "Mitigated"), ResumeRollout("gpt-5.6"), by="rae")
    await tell(log, story.given(SignOffPhase("gpt-5.6", "general_availability", "oncd", "approve"), by="olga"))
    now = await releases.detail(conn, as_("rae"), "gpt-5.6")
    assert (now["phase"], now["held"], now["holds"], now["admitted"]) == ("limited_preview", False, [], 1)
    assert (now["access"], now["next_phase"]) == ("granted", "general_availability")
    assert [(i["number"], i["closed"]) for i in now["incidents"]] == [(1, "2026-07-12T15:00:00Z")]
    assert [s["agency"] for s in now["phase_sign_offs"]] == ["oncd"]
    then = await releases.detail(conn, as_("rae"), "gpt-5.6", at=held)
    assert (then["held"], then["holds"], then["incidents"][0]["closed"]) == (True, ["openai"], None)


async def test_applicants_see_phases_but_no_incident_hold_or_sign_off(log: str, conn: Connection) -> None:
    await tell(log, with_an_incident())
    found = await releases.detail(conn, as_("nina"), "gpt-5.6")
    assert FOR_OFFICERS_ONLY.isdisjoint(found)
    assert (found["phase"], found["phases"][2]["gate"]["all_of"][0]["agency"]) == ("limited_preview", "oncd")
    assert "jailbreak" not in str(found)


async def test_a_release_manager_sees_only_their_own_providers_releases_in_full(log: str, conn: Connection) -> None:
    story = with_an_incident()
    story.given(RegisterOrganization("rival", "provider", "Rival", "US"))
    appoint(story, "rival", "release_manager", "ruth").given(
        AnnounceRelease("rival-1", "rival", "R1", ("all",), "frontier-preview", "low", (Phase("open", "open"),)),
        by="ruth",
    )
    await tell(log, story)

    async def in_full(person: str) -> dict[str, bool]:
        return {item["id"]: "incidents" in item for item in (await releases.page(conn, as_(person))).items}

    assert await in_full("rae") == {"gpt-5.6": True, "rival-1": False}
    assert await in_full("bea") == await in_full("ada") == {"gpt-5.6": True, "rival-1": True}
    assert await in_full("tom") == {"gpt-5.6": False, "rival-1": False}


async def test_lists_are_filtered_by_provider_and_phase(log: str, conn: Connection) -> None:
    story = with_an_incident()
    await tell(log, story)
    announced = next(f.position for f in story.facts if f.type == "ReleaseAnnounced")

    async def count(at: int | None = None, **filters: str) -> int:
        return len((await releases.page(conn, as_("ada"), Asked(at=at), **filters)).items)

    assert await count(provider="openai", phase="limited_preview") == 1
    assert await count(phase="announced") == await count(provider="rival") == 0
    assert await count(announced, phase="announced") == 1
