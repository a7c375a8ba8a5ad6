"""Slice the volumes of the cohort: python stages/preprocess.py mmccd=common tsgm=common trivial=common"""

import argparse
from pathlib import Path
from typing import Literal

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.data import case, location, montage, splits, store
from gliomap.data.recipes import RECIPES
from gliomap.data.slices import Slices

SLICES, PICTURES = Path("data/slices"), Path("plots/preprocess")


def main(argv: list[str]) -> None:
    """data/slices/<system>/ of each system, and a picture of each recipe in use, plots/preprocess/<recipe>.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("stores", nargs="+", metavar="<system>=<recipe>", help="recipe: section below `preprocess`")
    systems = parse(parser.parse_args(argv).stores)
    used = {f"preprocess.{name}": RECIPES[name] for name in systems}
    common = {"source": location.Source, "data_seed": int, "splits": splits.Splits, "protocol": Literal["common", "paper"]}
    with run.stage({**common, **used}) as p:
        manifest = case.read_manifest("data/manifest.csv")
        cases = case.from_manifest(manifest, location.folder(p["source"]))
        jobs = store.jobs_of(cases, splits.assign(manifest, p["splits"], p["data_seed"]))
        for name, (first, *others) in systems.items():
            report = store.write(SLICES / first, name, p[f"preprocess.{name}"], jobs, run.workers())
            for other in others:
                store.share(SLICES / first, SLICES / other)
            for split, counts in report["counts"].items():
                run.log(f"{name} {split}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
            for skipped in report["skipped"]:
                run.log(f"{name}: {skipped['case']} ({skipped['split']}) is skipped: {skipped['reason']}")
            montage.draw(Slices.open(SLICES / first), PICTURES / f"{name}.png", f"recipe {name}, training slices")


def parse(words: list[str]) -> dict[str, list[str]]:
    """Recipe -> systems that use it, in the order given, of <system>=<recipe>. UserError if a word is anything else."""
    found: dict[str, list[str]] = {}
    for word in words:
        system, _, recipe = word.partition("=")
        if not system.isidentifier() or recipe not in RECIPES:
            expected = f"expected <system>=<recipe> with a recipe out of {', '.join(sorted(RECIPES))}"
            raise UserError(f"found {word!r}, {expected}; change protocol or recipe in params.yaml, or the command")
        found.setdefault(recipe, []).append(system)
    return found


if __name__ == "__main__":
    run.main(main)
