"""A toy repository in which stages/report.py can run: two methods, scored by the real stages, with costs and tables."""

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import scoring_toys as toys
from gliomap.base import files
from gliomap.base.place import Place
from gliomap.scoring import leaderboard, pictures, ranking
from gliomap.scoring.paired import Draws
from gliomap.scoring.report_answer import BEGIN, END, Row
from stage_toys import main

PARAMS = toys.PARAMS + "recipe: common\nreport: {tumour_slices: auto, healthy_slices: 2, pixels: 96}\n"
GRAPH = """
methods:
  toy: {system: toy, name: Toy <net>, supervision: slice labels, pair: t2, needs: [models/toy/all]}
together:
  plain: {system: toy, name: Plain, supervision: none, pair: flair}
"""
TABLE = """\
# All methods

See https://example.org.

| method | Dice |
| :--- | ---: |
| B | 0.20 |
| A | - |
| C | 0.70 |
| T1 | not run |
| D | 1,200.5 [0, 9] |
"""


def project(folder: Path, patch) -> Path:
    """The repository, finished but for the report, as the working directory of `patch` (a pytest MonkeyPatch)."""
    toys.project(folder)
    _more_predictions(folder)
    files.write_text(folder / "params.yaml", PARAMS)
    files.write_text(folder / "conf/scale/smoke.yaml", "report: {tumour_slices: 3}\n")
    files.write_text(folder / "conf/data/phantom.yaml", "kind: phantom\nroot: nowhere\n")
    files.write_text(folder / "conf/graph.yaml", GRAPH)
    patch.chdir(folder)
    main("calibrate", "toy", "toy", "plain")
    main("evaluate", "toy", "toy", "plain")
    (folder / "data/slices/toy").symlink_to("common")  # the store of system `toy`
    files.write_csv(folder / "metrics/tables/leaderboard.csv", board())
    for name in ("leaderboard", "cost", "mmccd_table1"):
        files.write_text(folder / f"metrics/tables/{name}.md", TABLE)
    for place in ("overview", "grids/toy"):
        figure = Figure((1, 1))
        figure.subplots().plot([0, 1])
        pictures.save(figure, folder / f"plots/{place}.png", 50)
    files.write_text(folder / "README.md", f"# Head\n\n{BEGIN}\nold\n{END}\n\ntail\n")
    return folder


def _more_predictions(folder: Path) -> None:
    """`toy` also restores and has a mask of its own; `plain` is the same map with more noise."""
    for split in ("val", "test"):
        found = files.read_npz(folder / Place("toy", "toy").predictions(split))
        noisy = found["map"] + np.random.default_rng(1).normal(0, 0.4, found["map"].shape).astype(np.float32)
        toys.predict(folder, split, "plain", rows=found["rows"], map=noisy)
        more = {"reconstruction": (found["map"] / 3).astype(np.float16), "mask": (found["map"] > 1).astype(np.uint8)}
        toys.predict(folder, split, "toy", **more)


def board() -> pd.DataFrame:
    """The leaderboard of both methods, with the columns that the stage `tables` writes."""
    entries = leaderboard.entries(Path("conf/graph.yaml"))
    cost = {"evaluations_per_slice": 3.0, "training_seconds": 7.0, "training_parameters": 1200}
    seconds = {"toy": 0.02, "plain": 0.0005}
    costs = pd.DataFrame([{"method": key, "seconds_per_slice": each} | cost for key, each in seconds.items()])
    sources = ranking.Sources(leaderboard.metrics(entries), ranking.read_scores(entries), costs, {"toy": "common"})
    return ranking.frame(entries, sources, Draws(50, 0.95, 0))


def row(key="a", supervision="none", dice=0.5, low=0.4, high=0.6, seconds=0.1, recipe="common") -> Row:
    """A row of the leaderboard; None for a Dice that does not exist."""
    numbers = {"dice_slice_tumour": dice, "dice_slice_tumour_lo": low, "dice_slice_tumour_hi": high}
    numbers |= {"seconds_per_slice": seconds, "auprc_pooled_brain": 0.3}
    numbers |= {"n_tumour_slices": 9, "n_patients_tumour": 3, "n_patients": 4, "n_slices": 12}
    numbers |= {"evaluations_per_slice": 2.0, "training_seconds": 60.0, "training_parameters": 1e6}
    return Row(key, key.upper(), "toy", supervision, recipe, numbers)
