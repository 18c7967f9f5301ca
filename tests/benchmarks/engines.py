"""How long does a policy engine take for the decisions that our gate takes, and does it take the same ones?

`python -m tests.benchmarks.engines NAME PACKAGES GRANTS QUESTIONS` prints `{"us", "ours_us"}`: processor time for one
decision of the engine that is installed in the folder PACKAGES, and of ours on as many grants.
"""

import json
import sys
import time
from collections.abc import Callable
from random import Random

from assent_client.access import Access

from tests.benchmarks.checks import Key, gate, known

Decide = Callable[[Key], bool]

CEDAR = """
permit (principal, action == Action::"use", resource)
when { principal.grants.contains(resource) && context.tier == "standard" && context.person_class == "us_person" };
"""

CASBIN = """
[request_definition]
r = sub, obj, tier, who
[policy_definition]
p = sub, obj, tier, who
[policy_effect]
e = some(where (p.eft == allow))
[matchers]
m = r.sub == p.sub && r.obj == p.obj && r.tier == p.tier && r.who == p.who
"""


def cedarpy(access: Access) -> Decide:
    """One policy; the entities of a question are the customer, with its grants, and the release."""
    from cedarpy import Decision, is_authorized  # type: ignore[import-not-found]

    def decide(key: Key) -> bool:
        customer, release, tier, person_class, _ = key
        held = [{"type": "Release", "id": grant.release} for grant in access.grants.get(customer, ())]
        entities = [
            {
                "uid": {"type": "Customer", "id": customer},
                "attrs": {"grants": [{"__entity": each} for each in held]},
                "parents": [],
            },
            {"uid": {"type": "Release", "id": release}, "attrs": {}, "parents": []},
        ]
        request = {
            "principal": f'Customer::"{customer}"',
            "action": 'Action::"use"',
            "resource": f'Release::"{release}"',
            "context": {"tier": tier, "person_class": person_class},
        }
        return bool(is_authorized(request, CEDAR, entities).decision == Decision.Allow)

    return decide


def casbin(access: Access) -> Decide:
    """A rule for each grant."""
    import casbin as engine  # type: ignore[import-not-found]

    model = engine.Model()
    model.load_model_from_text(CASBIN)
    enforcer = engine.Enforcer(model)
    held = [grant for grants in access.grants.values() for grant in grants]
    enforcer.add_policies([[grant.customer, grant.release, "standard", "us_person"] for grant in held])
    return lambda key: bool(enforcer.enforce(*key[:4]))


def main(name: str, packages: str, grants: int, questions: int) -> None:
    sys.path.insert(0, packages)
    access = known(grants)
    engine = {"cedarpy": cedarpy, "casbin": casbin}[name](access)
    chance = Random(2)
    held = [(grant.customer, grant.release) for each in access.grants.values() for grant in each]
    asked: list[Key] = []
    for nth in range(questions):
        customer, release = chance.choice(held)
        asked.append((customer, release, "standard" if nth % 4 else "pro", "us_person", None))
    check = gate(grants)
    ours = [check(*key).allowed for key in asked]
    began = time.process_time()
    theirs = [engine(key) for key in asked]
    us = (time.process_time() - began) / questions * 1e6
    assert ours == theirs, f"{name} decides otherwise"
    began = time.process_time()
    for _ in range(200):
        for key in asked:
            check(*key)
    ours_us = (time.process_time() - began) / questions / 200 * 1e6
    sys.stdout.write(json.dumps({"us": round(us, 2), "ours_us": round(ours_us, 4)}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
