"""Generate the phantom, or find and check a cohort on disk. Raw data stay where they are: python stages/download.py"""

from gliomap.base import files, run
from gliomap.data.case import to_manifest
from gliomap.data.cohort import Cohort, accept, check_cohort, report
from gliomap.data.location import Source
from gliomap.data.phantom.settings import PhantomSettings
from gliomap.data.sources import geometry, obtain


def main(_: list[str]) -> None:
    """data/manifest.csv (the usable cases, their files, 1 in column tumour if there is any) and metrics/cohort.json."""
    with run.stage({"source": Source, "cohort": Cohort, "phantom": PhantomSettings, "data_seed": int}) as p:
        shape, voxel = geometry(p["source"], p["cohort"], p["phantom"])
        cases = obtain(p["source"], p["cohort"].limit, p["phantom"], p["data_seed"])
        findings = check_cohort(cases, shape, voxel, run.workers())
        used = accept(findings, p["cohort"].on_bad_case, run.work() / "problems.json")
        manifest = to_manifest(finding.case for finding in used).assign(tumour=[int(f.tumour_ml > 0) for f in used])
        files.write_csv("data/manifest.csv", manifest)
        files.write_json("metrics/cohort.json", report(findings, p["source"].kind))
    run.log(f"{len(used)} cases of {manifest['patient'].nunique()} patients in data/manifest.csv")


if __name__ == "__main__":
    run.main(main)
