"""Methods with known numbers for the tests of the leaderboard: three classes, four patients of two slices with tumour."""

import numpy as np
import pandas as pd

from gliomap.scoring import ranking
from gliomap.scoring.leaderboard import Entry
from gliomap.scoring.paired import Draws

DRAWS = Draws(replicates=200, confidence=0.95, seed=7)
PATIENTS = np.repeat(["a", "b", "c", "d"], 3)  # of the slices; the third of each patient is healthy
FLAIR = (0.5, 0.5, 0.5, 0.5)
DICE = {  # by method, of each patient
    "threshold_flair": FLAIR, "random": (0.1, 0.2, 0.1, 0.2),
    "weak": (0.6, 0.5, 0.3, 0.4), "strong": (0.6, 0.7, 0.8, 0.9), "masks": (0.9, 0.9, 0.9, 0.9),
}  # fmt: skip
SUPERVISION = {"threshold_flair": "none", "random": "none", "weak": "slice labels", "strong": "slice labels"}


def entry(key: str, system: str = "toy") -> Entry:
    return Entry(key, system, key.upper(), SUPERVISION.get(key, "pixel masks"), ("flair",), ())


def entries(*keys: str) -> list[Entry]:
    """The methods in an order that is none of a leaderboard's."""
    return [entry(key) for key in keys or ("masks", "weak", "random", "strong", "threshold_flair")]


def scores(dice: tuple[float, ...]) -> pd.DataFrame:
    """scores/<system>/<method>.csv: both tumour slices of a patient around the value given, 0.1 apart."""
    each = np.array([(value - 0.05, value + 0.05, np.nan) for value in dice]).ravel()
    tumour = np.tile([1, 1, 0], len(dice))
    columns = {"row": range(len(each)), "case": PATIENTS, "patient": PATIENTS, "z": range(80, 80 + len(each))}
    return pd.DataFrame(columns | {"tumour": tumour, "tumour_px": 9 * tumour, "dice": each})


def numbers(dice: float | None) -> dict:
    """metrics/<system>/<method>.json, as far as the leaderboard reads it."""
    found = {name + end: dice for name in ranking.METRICS for end in ("", "_lo", "_hi")}
    for name, value in (("hd95_max_directed_mm", 12.34), ("assd_mean_of_directed_mm", 1.234)):
        found |= {name + end: value for end in ("", "_lo", "_hi")}
    counts = {"n_tumour_slices": 8, "n_slices": 12, "n_patients": 4, "n_patients_tumour": 3, "n_distance_slices": 7}
    thirds = {f"n_tumour_slices_{size}": n for size, n in (("small", 3), ("medium", 2), ("large", 3))}
    levels = {"tercile_mm2_lower": 310.0, "tercile_mm2_upper": 1240.0, "prevalence_pooled_brain": 0.05, "dice_ceiling": 0.95}
    return found | counts | thirds | levels


def sources(**changes) -> ranking.Sources:
    made = {
        "metrics": {key: numbers(float(np.mean(dice))) for key, dice in DICE.items()},
        "scores": {key: scores(dice) for key, dice in DICE.items()},
        "cost": pd.DataFrame([cost(key, 10.0 ** (i - 4)) for i, key in enumerate(DICE)]),
        "recipes": {"toy": "common", "other": "ddmd"},
    }
    return ranking.Sources(**(made | changes))


def cost(key: str, seconds: float) -> dict:
    found = {"method": key, "seconds_per_slice": seconds, "evaluations_per_slice": 20.0}
    return found | {"training_seconds": 61.25, "training_parameters": 1_234_567}


def board(methods: list[Entry] | None = None, **changes) -> pd.DataFrame:
    return ranking.frame(methods or entries(), sources(**changes), DRAWS)
