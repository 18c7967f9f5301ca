"""With which key is the log signed, and what is recorded when an operator gives some of it up?"""

from dataclasses import replace

from domain.errors import KeyInUse, NotAuthorised, RollbackTooLate
from domain.facts import SYSTEM
from domain.log import AcceptRollback, Log, LogKeyRotated, RollbackAccepted, RotateLogKey
from domain.rulebook import decide
from tests.spec import Story, cast

FIRST, SECOND, THIRD = (f"assent.test/log+0000000{nth}+{'A' * 44}" for nth in (1, 2, 3))
ROTATE = RotateLogKey("A year is over", SECOND)


def signed_with(*keys: str) -> Story:
    story = cast()
    for key in keys:
        story.given(RotateLogKey("It is time", key))
    return story


def rolled_back(story: Story, found_size: int) -> RollbackAccepted:
    """What an operator accepted of a log that had been signed up to 1,000 records."""
    return RollbackAccepted(1000, "s=", "note", found_size, "f=", found_size - 1, THIRD, "rosa", "The disk was lost")


def test_the_first_key_has_none_before_it() -> None:
    story = cast().when(RotateLogKey("The first", FIRST)).then(LogKeyRotated(FIRST, None, "The first"))
    assert story.state("log-assent") == Log(FIRST)


def test_a_rotation_names_the_key_that_signed_until_then() -> None:
    signed_with(FIRST).when(ROTATE).then(LogKeyRotated(SECOND, FIRST, "A year is over"))


def test_every_key_follows_from_the_first_by_the_records() -> None:
    story = signed_with(FIRST, SECOND, THIRD)
    events = story.events("log-assent")
    assert [event.previous for event in events] == [None, *[event.key for event in events[:-1]]]


def test_the_key_that_signs_is_not_rotated_to() -> None:
    signed_with(FIRST, SECOND).when(ROTATE).refused(KeyInUse, "a checkpoint that covers the rotation to it")


def test_only_an_administrator_rotates_the_key() -> None:
    for person in ("ada", "rita", "omar", "nobody"):
        signed_with(FIRST).when(ROTATE, by=person).refused(NotAuthorised)


def test_a_rollback_is_recorded_by_the_service_as_the_first_thing_after_it() -> None:
    story = signed_with(FIRST, SECOND)
    accepted, world = rolled_back(story, len(story.facts)), story.world()
    (fact,) = decide(AcceptRollback(accepted), world, SYSTEM, world.recorded, lambda: "")
    assert (fact.position, fact.event) == (accepted.found_size, accepted)
    assert world.stream("log-assent").state == Log(THIRD, (accepted,)), "and its key signs from there"


def test_a_rollback_of_another_log_than_this_is_refused() -> None:
    story = signed_with(FIRST)
    accepted = rolled_back(story, len(story.facts))
    for found_size in (accepted.found_size - 1, accepted.found_size + 1):
        world = story.world()
        try:
            decide(AcceptRollback(replace(accepted, found_size=found_size)), world, SYSTEM, world.recorded, lambda: "")
        except RollbackTooLate as refused:
            assert refused.missing
        else:
            raise AssertionError("a rollback of another size was recorded")
