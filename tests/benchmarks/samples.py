"""What does one measurement yield, and what do several come to?"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """One load for some seconds: operations done per second, how long one took, and the processor time that one cost
    the process that decides, those that take requests for it, and the one that projects and signs (None: there is none,
    or it is not known).
    """

    per_second: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    cpu_us: float | None = None
    doors_cpu_us: float | None = None
    following_cpu_us: float | None = None


def sample_of(latencies: Sequence[float], seconds: float) -> Sample:
    """From how long each operation took, in seconds."""
    ordered = sorted(latencies)
    return Sample(
        len(ordered) / seconds,
        1000 * ordered[len(ordered) // 2],
        1000 * ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)],
    )


def medians(samples: Sequence[Sample]) -> dict[str, float]:
    """The median of each figure that is known, by its name."""
    rows = [asdict(sample) for sample in samples]
    return {
        name: round(median(row[name] for row in rows), 3)
        for name in rows[0]
        if all(row[name] is not None for row in rows)
    }
