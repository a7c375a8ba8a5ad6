"""Numbers of runs that differ in their seed alone, as tables show them: behind this run's, mean and deviation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping

MEAN, SD, COUNT = "_seed_mean", "_seed_sd", "_seeds"  # behind the name of a metric
SHOWN = re.compile(r"; [-\d.]+±[\d.]+ \(\d+ seeds\)")
Spread = tuple[float, float, int]  # mean, sample standard deviation with n - 1, n


def beside(spreads: Mapping[str, Spread]) -> dict[str, float | None]:
    """<metric>_seed_mean, <metric>_seed_sd and <metric>_seeds of each metric, to stand among a run's numbers."""
    found: dict[str, float | None] = {}
    for name, (mean, sd, n) in spreads.items():
        found |= {name + MEAN: float(f"{mean:.6g}"), name + SD: float(f"{sd:.6g}"), name + COUNT: n}
    return found


def suffix(numbers: Mapping[str, float | None], name: str, digits: int, scale: float = 1.0) -> str:
    """`; 0.575±0.012 (3 seeds)`, to follow what a cell says of this run; empty where no runs with other seeds are known.

    scale: of the unit shown over that of the number; 100 for hundredths.
    """
    n = numbers.get(name + COUNT)
    mean, sd = numbers.get(name + MEAN), numbers.get(name + SD)
    if n is None or mean is None or sd is None or not math.isfinite(mean):
        return ""
    return f"; {scale * mean:.{digits}f}±{scale * sd:.{digits}f} ({n:.0f} seeds)"


def columns(numbers: Mapping[str, float | None], names: Iterable[str]) -> dict[str, float | None]:
    """Of a CSV row: what `beside` added for the metrics of these names, and nothing for the others."""
    wanted = (name + end for name in names for end in (MEAN, SD, COUNT))
    return {name: numbers[name] for name in wanted if name in numbers}


def explained(text: str, listed: Iterable[int]) -> str:
    """A table's text, with what a `suffix` in it means below; unchanged without any. listed: `seeds` of params.yaml."""
    if not SHOWN.search(text):
        return text
    what = "mean and sample standard deviation, both in the unit of the mean, over n runs that differ in `seed` alone"
    return f"{text.rstrip()}\n\n*; a±s (n seeds)*: {what} (same patients), out of {', '.join(map(str, listed))}.\n"
