"""Who takes part, and who may be appointed to what, from when until when?"""

from typing import Any

import pytest

from domain.errors import (
    AlreadyAppointed,
    AlreadyExists,
    Malformed,
    NotAppointed,
    NotFound,
    OrganizationClosed,
)
from domain.organization import (
    AddAffiliate,
    Affiliate,
    AffiliateAdded,
    Appoint,
    AppointmentEnded,
    ChangeOrganization,
    EndAppointment,
    OrganizationChanged,
    OrganizationRegistered,
    PersonAppointed,
    RegisterOrganization,
)
from tests.spec import ROOT, Story, cast, instant


def test_an_organization_is_registered() -> None:
    story = cast()
    story.when(RegisterOrganization("acme", "customer", "Acme", "DE", "small")).then(
        OrganizationRegistered("customer", "Acme", "DE", "small", False)
    )
    assert story.facts[-1].stream == "organization-acme"
    assert story.facts[-1].by == ROOT


def test_a_government_agency_is_registered_as_one() -> None:
    cast().when(RegisterOrganization("nist", "agency", "NIST", "US", government=True)).then(
        OrganizationRegistered("agency", "NIST", "US", None, True)
    )


def test_an_organizations_id_is_taken_once() -> None:
    cast().when(RegisterOrganization("oncd", "agency", "Another", "US")).refused(AlreadyExists)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(RegisterOrganization("acme", "customer", "Acme", "US"), id="a customer has a size class"),
        pytest.param(RegisterOrganization("acme", "agency", "Acme", "US", "small"), id="an agency has none"),
        pytest.param(RegisterOrganization("acme", "provider", "Acme", "US", government=True), id="no agency"),
        pytest.param(RegisterOrganization("acme", "assent", "Acme", "US"), id="one organization runs the service"),
    ],
)
def test_what_makes_no_sense_is_not_registered(command: RegisterOrganization) -> None:
    cast().when(command).refused(Malformed)


def test_the_organization_that_runs_the_service_is_registered_once() -> None:
    cast().when(RegisterOrganization("assent", "assent", "Another", "US")).refused(AlreadyExists)
    cast().when(RegisterOrganization("assent", "provider", "Another", "US")).refused(AlreadyExists)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (ChangeOrganization("tinker", name="Tinker Inc"), OrganizationChanged("Tinker Inc")),
        (ChangeOrganization("tinker", size_class="small"), OrganizationChanged(None, "small")),
        (ChangeOrganization("tinker", closed=True), OrganizationChanged(None, None, True)),
        (ChangeOrganization("tinker", "Tinker Labs", "medium"), OrganizationChanged(None, "medium")),
    ],
)
def test_a_change_records_what_differs(command: ChangeOrganization, expected: OrganizationChanged) -> None:
    cast().when(command).then(expected)


@pytest.mark.parametrize(
    "command",
    [
        ChangeOrganization("tinker"),
        ChangeOrganization("tinker", "Tinker Labs", "startup", False),
        ChangeOrganization("oncd", size_class="large"),
    ],
)
def test_a_change_that_changes_nothing_is_refused(command: ChangeOrganization) -> None:
    cast().when(command).refused(Malformed)


def test_a_changed_organization_keeps_what_was_not_changed() -> None:
    story = cast().given(ChangeOrganization("tinker", size_class="small"))
    tinker = story.state("organization-tinker")
    assert (tinker.name, tinker.size_class, tinker.country, tinker.closed) == ("Tinker Labs", "small", "US", False)


def test_an_affiliate_is_added_once() -> None:
    added = AddAffiliate("northwind", "nw-labs", "Northwind Labs", "GB")
    story = cast().when(added).then(AffiliateAdded("nw-labs", "Northwind Labs", "GB"))
    assert story.state("organization-northwind").affiliates == (Affiliate("nw-labs", "Northwind Labs", "GB"),)
    story.when(added).refused(AlreadyExists)


def test_a_person_is_appointed_from_now_on() -> None:
    cast().when(Appoint("oncd", "otto", "reviewer")).then(
        PersonAppointed("otto", "reviewer", instant("2026-06-20T13:00:00Z"), None)
    )


def roles(story: Story, person: str, at: str) -> tuple[str, ...]:
    return story.state("organization-oncd").roles(person, instant(at))  # type: ignore[no-any-return]


def test_an_appointment_holds_from_its_first_instant_until_just_before_its_last() -> None:
    begins, ends = instant("2026-07-01"), instant("2026-08-01")
    story = (
        cast()
        .when(Appoint("oncd", "otto", "reviewer", begins, ends))
        .then(PersonAppointed("otto", "reviewer", begins, ends))
    )
    assert roles(story, "otto", "2026-06-30T23:59:59Z") == ()
    assert roles(story, "otto", "2026-07-01T00:00:00Z") == ("reviewer",)
    assert roles(story, "otto", "2026-07-31T23:59:59Z") == ("reviewer",)
    assert roles(story, "otto", "2026-08-01T00:00:00Z") == ()


def test_a_person_may_hold_several_roles_but_each_once() -> None:
    story = cast().given(Appoint("oncd", "olga", "countersigner"))
    assert roles(story, "olga", "2026-06-20T13:00:00Z") == ("reviewer", "countersigner")
    story.when(Appoint("oncd", "olga", "reviewer")).refused(AlreadyAppointed)


def test_a_role_is_held_by_one_appointment_at_a_time() -> None:
    july, august, september = (instant(f"2026-{month}-01") for month in ("07", "08", "09"))
    story = cast().given(Appoint("oncd", "otto", "reviewer", july, august))
    story.given(Appoint("oncd", "otto", "reviewer", august, september))
    story.given(Appoint("oncd", "otto", "reviewer", instant("2026-06-20T13:00:00Z"), july))
    for begins, ends in ((july, august), (instant("2026-07-31"), None), (instant("2026-06-21"), instant("2026-07-02"))):
        story.when(Appoint("oncd", "otto", "reviewer", begins, ends)).refused(AlreadyAppointed, "another time")


def test_a_role_that_ended_may_be_held_again() -> None:
    story = cast().given(EndAppointment("oncd", "olga", "reviewer"))
    story.when(Appoint("oncd", "olga", "reviewer")).then(
        PersonAppointed("olga", "reviewer", instant("2026-06-20T13:00:00Z"))
    )


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(Appoint("oncd", "otto", "applicant"), id="a customer's role in an agency"),
        pytest.param(Appoint("northwind", "otto", "reviewer"), id="an agency's role in a customer"),
        pytest.param(Appoint("openai", "otto", "administrator"), id="the service's role in a provider"),
        pytest.param(Appoint("oncd", "otto", "head", None, instant("2026-06-20T13:00:00Z")), id="over at once"),
        pytest.param(Appoint("oncd", "otto", "head", instant("2026-08-01"), instant("2026-07-01")), id="backwards"),
    ],
)
def test_an_appointment_that_makes_no_sense_is_refused(command: Appoint) -> None:
    cast().when(command).refused(Malformed)


def test_nobody_is_appointed_in_a_closed_organization() -> None:
    cast().given(ChangeOrganization("oncd", closed=True)).when(Appoint("oncd", "otto", "reviewer")).refused(
        OrganizationClosed
    )


def test_an_organization_that_opens_again_appoints_again() -> None:
    story = cast().given(ChangeOrganization("oncd", closed=True), ChangeOrganization("oncd", closed=False))
    story.when(Appoint("oncd", "otto", "reviewer")).then(
        PersonAppointed("otto", "reviewer", instant("2026-06-20T13:00:00Z"))
    )


def test_an_appointment_ends_at_once_and_only_in_that_role() -> None:
    story = cast().given(Appoint("oncd", "olga", "countersigner")).at("2026-07-01T13:00:00Z")
    story.when(EndAppointment("oncd", "olga", "reviewer")).then(AppointmentEnded("olga", "reviewer"))
    assert roles(story, "olga", "2026-07-01T12:59:59Z") == ("reviewer", "countersigner")
    assert roles(story, "olga", "2026-07-01T13:00:00Z") == ("countersigner",)


@pytest.mark.parametrize("command", [EndAppointment("oncd", "olga", "head"), EndAppointment("oncd", "sam", "reviewer")])
def test_only_an_appointment_in_force_is_ended(command: EndAppointment) -> None:
    cast().when(command).refused(NotAppointed)


@pytest.mark.parametrize(
    "command",
    [
        ChangeOrganization("nobody", "Nobody"),
        AddAffiliate("nobody", "some", "Some", "US"),
        Appoint("nobody", "otto", "reviewer"),
        EndAppointment("nobody", "otto", "reviewer"),
    ],
)
def test_an_unknown_organization_is_not_found(command: Any) -> None:
    cast().when(command).refused(NotFound)
