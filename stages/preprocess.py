"""Slice the volumes of the cohort by a recipe: python stages/preprocess.py common"""

import argparse
from pathlib import Path

from gliomap.base import run
from gliomap.data import case, location, montage, splits, store
from gliomap.data.recipes import RECIPES
from gliomap.data.slices import Slices


def main(argv: list[str]) -> None:
    """data/slices/<recipe>/ and a picture of it, plots/preprocess/<recipe>.png."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", choices=sorted(RECIPES), help="section below `preprocess` in params.yaml")
    name = parser.parse_args(argv).recipe
    recipe = f"preprocess.{name}"
    with run.stage({"source": location.Source, "data_seed": int, "splits": splits.Splits, recipe: RECIPES[name]}) as p:
        manifest = case.read_manifest("data/manifest.csv")
        cases = case.from_manifest(manifest, location.folder(p["source"]))
        jobs = store.jobs_of(cases, splits.assign(manifest, p["splits"], p["data_seed"]))
        folder = Path("data/slices") / name
        report = store.write(folder, name, p[recipe], jobs, run.workers())
        for split, counts in report["counts"].items():
            run.log(f"{name} {split}: " + ", ".join(f"{count} {what}" for what, count in counts.items()))
        for skipped in report["skipped"]:
            run.log(f"{name}: {skipped['case']} ({skipped['split']}) is skipped: {skipped['reason']}")
        montage.draw(Slices.open(folder), Path("plots/preprocess") / f"{name}.png", f"recipe {name}, training slices")


if __name__ == "__main__":
    run.main(main)
