"""Does the service keep what its description promises, whatever is sent, and whoever sends it?"""

from tests.fuzzing import as_text, told_of
from tests.fuzzing.campaign import Campaign
from tests.fuzzing.target import attacked
from tests.services.http.test_matrix import CALLERS

REQUESTS, SEED = 2_000, 7


def test_whatever_is_sent_by_whomever_is_answered_as_described() -> None:
    """No answer of 500 or above, no status, content or header that is not described, no data against the description
    that is taken, none that fits it and cannot be read, and nothing for who does not say who they are.
    """
    with attacked() as target:
        tally = Campaign(target, SEED).run(REQUESTS, lambda done: None)
        told = told_of(tally, SEED)
    assert not told["faults"], as_text(told)
    assert tally.requests >= REQUESTS
    assert set(tally.by_operation) == {
        f"{method.upper()} {path}" for path, item in target.document["paths"].items() for method in item
    }
    assert set(tally.callers) == set(CALLERS)
    assert max(tally.statuses) < 500
    assert {200, 201, 400, 401, 403, 404, 409, 422} <= set(tally.statuses)
    assert tally.probes > 100 and tally.against > 500
