"""Who is trained on, who validates, who tests: by patient, never by slice."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from gliomap.base import files, run
from gliomap.base.errors import UserError
from gliomap.base.params import number

NAMES = ("train", "val", "test")
FOLDER = Path("conf/splits")


@dataclass(frozen=True)
class Splits:
    """How the patients are divided (section `splits` of params.yaml); each mode reads its own keys."""

    mode: Literal["ratio", "files", "folds", "heldout", "repeat"]
    ratios: tuple[float, ...] = number(min=0, max=1)  # ratio, repeat: shares of train, val, test
    folds: int = number(min=3)  # folds, heldout: parts of the patients; repeat: ratio splits
    fold: int = number(min=0)  # from 0. folds: tests, the next one validates; heldout: validates; repeat: which split
    holdout: float = number(min=0, max=1)  # heldout: share of the patients that tests, the same in every fold
    files: str  # files: folder below conf/splits with val.csv and test.csv (column `case`); everyone else trains


def assign(manifest: pd.DataFrame, splits: Splits, seed: int, lists: Path = FOLDER) -> dict[str, str]:
    """case -> "train", "val" or "test", for every row of the manifest (columns case, patient, and tumour if there is one).

    A function of seed and patients: the order of the rows does not matter. Patients without tumour (tumour = 0) are spread
    like the others. What DDMD's "five folds" may mean (DDMD spec 1.3): `heldout`, one test set for all folds; `folds`,
    cross-validation; `repeat`, independent ratio splits, of which fold 0 is that of mode `ratio`.
    Raises UserError: an empty set, a patient in two sets, lists that do not fit.
    """
    if splits.mode == "files":
        of_patient = _from_lists(manifest, lists / splits.files)
    else:
        of_patient = _DRAWN[splits.mode](_strata(manifest), splits, seed)
    _require_all(of_patient, splits)
    return {str(c): of_patient[str(p)] for c, p in zip(manifest["case"], manifest["patient"], strict=True)}


def require_disjoint(pairs: Iterable[tuple[str, str]], patient_of: Mapping[str, str]) -> None:
    """UserError if the cases of a patient are in two sets. pairs: (case, set); patient_of: case -> patient."""
    first: dict[str, tuple[str, str]] = {}
    for case, name in pairs:
        patient = patient_of[case]
        other, where = first.setdefault(patient, (case, name))
        if where != name:
            found = f"patient {patient} is in {where} ({other}) and in {name} ({case})"
            raise UserError(f"splits: {found}, expected one set a patient; take the patient out of one list in conf/splits")


def _strata(manifest: pd.DataFrame) -> list[list[str]]:
    """Patients with a tumour in any case, then those without; sorted."""
    tumour = manifest["tumour"].astype(int) if "tumour" in manifest else pd.Series(1, index=manifest.index)
    has = tumour.groupby(manifest["patient"].astype(str)).max()
    return [sorted(has.index[has > 0]), sorted(has.index[has == 0])]


def _shuffled(patients: Iterable[str], seed: int | str) -> list[str]:
    """Patients in the order of a hash of (seed, patient): one more patient does not reorder the others."""
    return sorted(patients, key=lambda p: hashlib.blake2b(f"{seed}/{p}".encode(), digest_size=8).digest())


def _from_ratios(strata: list[list[str]], splits: Splits, seed: int | str) -> dict[str, str]:
    if len(splits.ratios) != 3 or abs(sum(splits.ratios) - 1) > 1e-6:
        found = f"splits.ratios is {list(splits.ratios)}"
        raise UserError(f"params.yaml: {found}, expected three shares (train, val, test) with sum 1; try 0.7, 0.1, 0.2")
    result = {}
    for patients, at_least in zip(strata, (1, 0), strict=True):
        counts = apportion(len(patients), splits.ratios, at_least)
        names = [name for name, count in zip(NAMES, counts, strict=True) for _ in range(count)]
        result |= dict(zip(_shuffled(patients, seed), names, strict=True))
    return result


def apportion(total: int, ratios: tuple[float, ...], at_least: int) -> list[int]:
    """`total` in whole parts proportional to `ratios` (largest remainders), none below `at_least` while another has more."""
    exact = [total * ratio for ratio in ratios]
    parts = [int(value + 1e-9) for value in exact]
    by_remainder = sorted(range(len(parts)), key=lambda i: (parts[i] - exact[i], i))
    for i in by_remainder[: total - sum(parts)]:
        parts[i] += 1
    for i, ratio in enumerate(ratios):
        if ratio > 0 and parts[i] < at_least and max(parts) > at_least:
            parts[parts.index(max(parts))] -= 1
            parts[i] += 1
    return parts


def _from_folds(strata: list[list[str]], splits: Splits, seed: int) -> dict[str, str]:
    _require_fold(splits)
    roles = {splits.fold: "test", (splits.fold + 1) % splits.folds: "val"}
    return _in_parts([_shuffled(patients, seed) for patients in strata], splits.folds, roles)


def _from_holdout(strata: list[list[str]], splits: Splits, seed: int) -> dict[str, str]:
    _require_fold(splits)
    test, rest = [], []
    for patients, at_least in zip(strata, (1, 0), strict=True):
        order = _shuffled(patients, seed)
        count = apportion(len(order), (splits.holdout, 1 - splits.holdout), at_least)[0]
        test += order[:count]
        rest.append(order[count:])
    return dict.fromkeys(test, "test") | _in_parts(rest, splits.folds, {splits.fold: "val"})


def _from_repeats(strata: list[list[str]], splits: Splits, seed: int) -> dict[str, str]:
    _require_fold(splits)
    return _from_ratios(strata, splits, f"{seed}/{splits.fold}" if splits.fold else seed)


_DRAWN = {"ratio": _from_ratios, "folds": _from_folds, "heldout": _from_holdout, "repeat": _from_repeats}


def _in_parts(strata: list[list[str]], parts: int, roles: Mapping[int, str]) -> dict[str, str]:
    """Patients dealt out to so many parts; the parts in `roles` have a set of their own, the others train."""
    order = [p for patients in strata for p in patients]
    return {patient: roles.get(i % parts, "train") for i, patient in enumerate(order)}


def _require_fold(splits: Splits) -> None:
    if splits.fold >= splits.folds:
        found = f"splits.fold is {splits.fold}"
        raise UserError(f"params.yaml: {found}, expected 0 to {splits.folds - 1}, as splits.folds says; change either")


def _from_lists(manifest: pd.DataFrame, folder: Path) -> dict[str, str]:
    patient_of = dict(zip(manifest["case"].astype(str), manifest["patient"].astype(str), strict=True))
    pairs = []
    for name in NAMES[1:]:
        path = folder / f"{name}.csv"
        ids = _ids(path)
        known = [case for case in ids if case in patient_of]
        _report_strangers(path, ids, known)
        pairs += [(case, name) for case in known]
    require_disjoint(pairs, patient_of)
    return dict.fromkeys(patient_of.values(), "train") | {patient_of[case]: name for case, name in pairs}


def _ids(path: Path) -> list[str]:
    frame = files.read_csv(path, dtype=str, keep_default_na=False, comment="#")
    if "case" not in frame:
        raise UserError(f"{path}: found the columns {list(frame)}, expected `case` with one id a line; add that header")
    ids = frame["case"].str.strip()
    if ids.duplicated().any():
        raise UserError(f"{path}: {ids[ids.duplicated()].iloc[0]} is there twice, expected every id once; remove one")
    return list(ids)


def _report_strangers(path: Path, ids: list[str], known: list[str]) -> None:
    """Say which ids of a list are not in the cohort; UserError if none is."""
    strangers = [case for case in ids if case not in set(known)]
    if not known:
        example = f" such as {ids[0]}" if ids else ""
        raise UserError(
            f"{path}: none of its {len(ids)} ids{example} is in the cohort, expected ids of data/manifest.csv; these lists "
            "belong to other data: set splits.mode to ratio, or splits.files to lists of your own"
        )
    if strangers:
        shown = ", ".join(strangers[:5]) + (" ..." if len(strangers) > 5 else "")
        run.log(f"{path}: {len(strangers)} of {len(ids)} ids are not in the cohort: {shown}")


def _require_all(of_patient: Mapping[str, str], splits: Splits) -> None:
    """UserError unless train, val and test each have a patient."""
    counts = {name: sum(value == name for value in of_patient.values()) for name in NAMES}
    empty = [name for name, count in counts.items() if not count]
    if empty:
        advice = {
            "ratio": "use more cases or other splits.ratios",
            "repeat": "use more cases or other splits.ratios",
            "folds": "use more cases or fewer splits.folds",
            "heldout": "use more cases, fewer splits.folds or another splits.holdout",
            "files": f"check the lists in conf/splits/{splits.files}",
        }
        found = f"{' and '.join(empty)} would be empty with {len(of_patient)} patients ({counts})"
        raise UserError(f"splits: {found}, expected at least one patient in each; {advice[splits.mode]}")
