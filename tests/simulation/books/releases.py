"""Did each rollout go on only in order, unheld, quiet and signed for, and within its caps? I12, I13, I15, I17."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from tests.simulation.books import Entry, Violation, trees
from tests.simulation.books.trees import YES, Position, Positions

SEVERITIES = ("low", "medium", "high", "critical")


@dataclass(slots=True)
class Incident:
    organization: str
    serious: bool
    closed: datetime | None = None


@dataclass(slots=True)
class Release:
    """One release, as far as the log has told of it."""

    id: str
    provider: str
    policy: str
    tiers: list[str]
    threshold: str
    phases: list[dict[str, Any]]
    began: datetime
    current: int = 0
    positions: Positions = field(default_factory=Positions)
    holds: set[str] = field(default_factory=set)
    incidents: dict[int, Incident] = field(default_factory=dict)
    admitted: set[str] = field(default_factory=set)
    withdrawn: bool = False

    @property
    def phase(self) -> dict[str, Any]:
        return self.phases[self.current]

    @property
    def coming(self) -> dict[str, Any] | None:
        return self.phases[self.current + 1] if self.current + 1 < len(self.phases) else None

    def gate_agencies(self) -> list[str]:
        return trees.agencies(self.coming["gate"]) if self.coming else []

    def open_incidents(self) -> list[Incident]:
        return [i for i in self.incidents.values() if i.serious and i.closed is None]


class Releases:
    """Folds the streams of releases. `log` gives the other books."""

    def __init__(self, log: Any) -> None:
        self.log = log
        self.all: dict[str, Release] = {}

    def of(self, id: str) -> Release:
        if id not in self.all:
            raise Violation("§2", f"there is no release {id}")
        return self.all[id]

    def policy_agencies(self, id: str) -> list[str]:
        """The agencies of the newest version of the release's policy."""
        return trees.agencies(self.log.policies[self.of(id).policy][-1]["sign_offs"])

    def rollout_agencies(self, id: str) -> set[str]:
        """The agencies of the policy, and of every gate."""
        gates = (agency for phase in self.of(id).phases for agency in trees.agencies(phase["gate"]))
        return {*self.policy_agencies(id), *gates}

    def take(self, entry: Entry) -> None:
        data = entry.data
        if entry.type == "ReleaseAnnounced":
            if entry.id in self.all:
                raise Violation("§2", "a release was announced twice")
            self.all[entry.id] = Release(
                entry.id,
                data["provider"],
                data["policy"],
                data["tiers"],
                data["incident_threshold"],
                data["phases"],
                entry.occurred,
            )
            return
        here = self.of(entry.id)
        if here.withdrawn and entry.type != "CustomerLeft":
            raise Violation("§2", f"{entry.type} after the release was withdrawn")
        HANDLERS[entry.type](self, here, entry)

    # The gate

    def signed_off(self, here: Release, entry: Entry) -> None:
        agency = entry.data["agency"]
        self._coming(here, entry.data["phase"])
        self._counts_once(here, entry, agency)
        for person, position in here.positions.of(agency).items():
            if person != entry.person and position.people & entry.people:
                raise Violation("I4", "one power counts for two people")
        here.positions.take(agency, entry.person, Position(entry.data["position"], [], frozenset(entry.people)))

    def countersigned(self, here: Release, entry: Entry) -> None:
        self._confirming(here, entry)
        for person in entry.data["people"]:
            here.positions.of(entry.data["agency"])[person].confirmed_by = frozenset(entry.people)

    def countersign_refused(self, here: Release, entry: Entry) -> None:
        self._confirming(here, entry)
        here.positions.strike(entry.data["agency"], entry.data["people"])

    def _confirming(self, here: Release, entry: Entry) -> None:
        self._coming(here, entry.data["phase"])
        self._counts_once(here, entry, entry.data["agency"])
        mine = here.positions.of(entry.data["agency"])
        for person in entry.data["people"]:
            if person not in mine or mine[person].confirmed_by:
                raise Violation("I4", f"no position of {person} awaits a countersignature")
            if mine[person].people & entry.people:
                raise Violation("I4", f"{entry.person} countersigned their own sign-off")

    def _counts_once(self, here: Release, entry: Entry, agency: str) -> None:
        if other := here.positions.elsewhere(agency, entry.people):
            raise Violation("I4", f"{entry.person} counts for {agency} and for {other}")

    def _coming(self, here: Release, phase: str) -> None:
        if here.coming is None or here.coming["name"] != phase:
            raise Violation("I15", f"{phase} is not the phase that comes next")

    # Phases

    def advanced(self, here: Release, entry: Entry) -> None:
        """I15, reason by reason; I17: the next phase takes those who are admitted."""
        self._coming(here, entry.data["to"])
        coming = here.coming
        assert coming is not None
        if here.holds:
            raise Violation("I15", f"a phase began while {', '.join(sorted(here.holds))} held the rollout")
        if here.open_incidents():
            raise Violation("I15", "a phase began while an incident at the threshold was open")
        if here.began + timedelta(days=coming["min_days"]) > entry.occurred:
            raise Violation("I15", "a phase began too soon")
        quiet = timedelta(days=coming["quiet_days"])
        if any(i.serious and i.closed and i.closed + quiet > entry.occurred for i in here.incidents.values()):
            raise Violation("I15", "a phase began too soon after an incident")
        if coming["gate"] and trees.says(coming["gate"], here.positions) != YES:
            raise Violation("I15", "a phase began without the sign-offs of its gate")
        if coming["customer_cap"] is not None and len(here.admitted) > coming["customer_cap"]:
            raise Violation("I17", "a phase began that does not take the customers admitted")
        self._begun(here, here.current + 1, entry)

    def rolled_back(self, here: Release, entry: Entry) -> None:
        earlier = [phase["name"] for phase in here.phases[: here.current]]
        if entry.data["to"] not in earlier:
            raise Violation("I15", "rolled back to a phase that is not earlier")
        self._begun(here, earlier.index(entry.data["to"]), entry)

    def _begun(self, here: Release, phase: int, entry: Entry) -> None:
        here.current, here.began, here.positions = phase, entry.occurred, Positions()

    def held(self, here: Release, entry: Entry) -> None:
        here.holds.add(entry.organization)

    def resumed(self, here: Release, entry: Entry) -> None:
        if entry.organization not in here.holds:
            raise Violation("I12", f"{entry.organization} ended a hold that it had not set")
        if any(i.organization == entry.organization for i in here.open_incidents()):
            raise Violation("I15", "the rollout resumed while the incident that holds it was open")
        here.holds.discard(entry.organization)

    def incident_opened(self, here: Release, entry: Entry) -> None:
        number, serious = entry.data["number"], entry.data["at_threshold"]
        if number != len(here.incidents) + 1:
            raise Violation("§2", "incidents count from 1")
        if serious != (SEVERITIES.index(entry.data["severity"]) >= SEVERITIES.index(here.threshold)):
            raise Violation("I15", "an incident was weighed against another threshold")
        here.incidents[number] = Incident(entry.organization, serious)
        if serious:
            here.positions = Positions()

    def incident_closed(self, here: Release, entry: Entry) -> None:
        incident = here.incidents.get(entry.data["number"])
        if incident is None or incident.closed is not None:
            raise Violation("§2", "an incident was closed that is not open")
        if incident.organization != entry.organization:
            raise Violation("I15", f"{entry.organization} closed an incident of {incident.organization}")
        incident.closed = entry.occurred

    def withdrawn(self, here: Release, entry: Entry) -> None:
        here.withdrawn = True

    # Customers

    def customer_admitted(self, here: Release, entry: Entry) -> None:
        """I17: with the grant that admits, and within the cap of the phase."""
        customer, cap = entry.data["customer"], here.phase["customer_cap"]
        grant = self.log.grants.of(entry.data["grant"])
        if (grant.customer, grant.release) != (customer, here.id):
            raise Violation("I17", "a customer was admitted by another one's grant")
        if cap is not None and customer not in here.admitted and len(here.admitted) >= cap:
            raise Violation("I17", f"{customer} was admitted to {len(here.admitted)} others, where {cap} may be")
        here.admitted.add(customer)

    def customer_left(self, here: Release, entry: Entry) -> None:
        """I13: only with the last live grant."""
        if self.log.grants.live(entry.data["customer"], here.id):
            raise Violation("I13", f"{entry.data['customer']} left the release, and holds a live grant for it")
        if entry.data["customer"] not in here.admitted:
            raise Violation("I17", "a customer left who was not admitted")
        here.admitted.discard(entry.data["customer"])

    # At the end of an append

    def settled(self, here: Release) -> None:
        for incident in here.open_incidents():
            if incident.organization not in here.holds:
                raise Violation("I15", "an incident at the threshold is open, and its organization does not hold")

    def settled_for(self, customer: str, release: str) -> None:
        """I17: who is admitted, and only they, holds a live grant."""
        if self.log.grants.live(customer, release) != (customer in self.of(release).admitted):
            raise Violation("I17", f"{customer} is admitted without a live grant, or holds one without being admitted")


HANDLERS = {
    "PhaseSignedOff": Releases.signed_off,
    "PhaseSignOffCountersigned": Releases.countersigned,
    "PhaseCountersignRefused": Releases.countersign_refused,
    "PhaseAdvanced": Releases.advanced,
    "PhaseRolledBack": Releases.rolled_back,
    "RolloutHeld": Releases.held,
    "RolloutResumed": Releases.resumed,
    "IncidentOpened": Releases.incident_opened,
    "IncidentClosed": Releases.incident_closed,
    "ReleaseWithdrawn": Releases.withdrawn,
    "CustomerAdmitted": Releases.customer_admitted,
    "CustomerLeft": Releases.customer_left,
}
