"""Generate or find the external cohorts, check and slice them: python stages/external.py icts inhouse --recipe common"""

import argparse
from pathlib import Path
from typing import Literal

from gliomap.base import files, run
from gliomap.data import external, store
from gliomap.data.external import External, ExternalPhantom
from gliomap.data.phantom.settings import Knobs
from gliomap.data.recipes import RECIPES


def main(argv: list[str]) -> None:
    """data/external/<cohort>/, a slice store with the one split test, and metrics/external.json: every problem, counts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("cohorts", nargs="+", metavar="cohort", help="conf/external/<cohort>.yaml")
    parser.add_argument("--recipe", required=True, choices=sorted(RECIPES), help="section below `preprocess`")
    args = parser.parse_args(argv)
    recipe, named = f"preprocess.{args.recipe}", {name: external.config(name) for name in args.cohorts}
    with run.stage({
        "data_seed": int, "cohort.on_bad_case": Literal["fail", "skip"], "external_phantom": ExternalPhantom,
        "phantom.knobs": Knobs, recipe: RECIPES[args.recipe], **dict.fromkeys(named.values(), External),
    }) as p:  # fmt: skip
        checked, reports = {}, {}
        for name, path in named.items():
            found = external.obtain(name, p[path], p["external_phantom"], p["phantom.knobs"], p["data_seed"])
            checked[name] = external.check(name, p[path], found, p["cohort.on_bad_case"], run.workers())
        for name, path in named.items():
            jobs = [store.Job(case, external.SPLIT) for case in checked[name].cases]
            folder, content = Path("data/external") / name, external.content(name, p[path])
            written = store.write(folder, args.recipe, p[recipe], jobs, run.workers(), content)
            slices = written["counts"][external.SPLIT]
            reports[name] = checked[name].report | {"slices": slices, "skipped": written["skipped"]}
            run.log(f"{name}: " + ", ".join(f"{count} {what}" for what, count in slices.items()))
        files.write_json("metrics/external.json", reports)


if __name__ == "__main__":
    run.main(main)
