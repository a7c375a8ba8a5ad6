"""What restorations change: `python stages/residuals.py tsgm tsgm=tsgm/tsgm/single --external icts --store mmccd`."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from gliomap.base import run
from gliomap.base.errors import UserError
from gliomap.base.files import write_json, write_npz
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine import device
from gliomap.engine.inference import Infer, Setting, chosen, cost, predict, warm_up

KEPT = ("rows", "residual", "restored", "sd")  # of a scorer's arrays; sd where it makes several samples


@dataclass(frozen=True)
class Row:
    """A row of the tables: its key, the module of its scorer, and what that works on."""

    key: str
    module: ModuleType
    pair: str
    models: Path

    @classmethod
    def parse(cls, word: str, elsewhere: Sequence[str] = ()) -> "Row":
        """Of <row>=<module>/<pair>; elsewhere: <row>=<folder>, with its networks. UserError if it is anything else."""
        key, _, rest = word.partition("=")
        module, _, pair = rest.partition("/")
        if not (key and module.isidentifier() and pair):
            expected = "expected <row>=<module>/<pair>, such as tsgm=tsgm/tsgm/single"
            raise UserError(f"row is {word!r}, {expected}; mend conf/graph.yaml or the command")
        models = dict(other.split("=", 1) for other in elsewhere).get(key, "models")
        return cls(key, importlib.import_module(f"gliomap.methods.{module}"), pair, Path(models))


def main(argv: list[str]) -> None:
    """predictions/residuals/<group>/<population>/<row>.npz and metrics/cost/infer-<row>.json. Reads no mask, no label.

    The populations are val, test and the external cohorts. Times and evaluations are those of val and test.
    """
    parser = run.parser(__doc__)
    parser.add_argument("group", help="folder name under predictions/residuals/")
    parser.add_argument("rows", nargs="+", help="<row>=<module>/<pair>: its key, file under src/gliomap/methods/, networks")
    parser.add_argument("--external", nargs="*", default=[], help="cohorts: folder names under data/external/")
    parser.add_argument("--networks", nargs="*", default=[], metavar="<row>=<folder>", help="networks not in models/")
    arguments = parser.parse_args(argv)
    rows = [Row.parse(word, arguments.networks) for word in arguments.rows]
    sections = {name: kind for row in rows for name, kind in row.module.SECTIONS.items()}
    with run.stage({"seed": int, "infer": Infer, **sections}) as p:
        slices = Slices.open(Path("data/slices") / arguments.store)
        cohorts = {name: Slices.open(Path("data/external") / name) for name in arguments.external}
        setting = Setting(slices, Noise(p["seed"]), p["infer"], device.launch(p["infer"].precision, 1))
        folder = Path("predictions/residuals") / arguments.group
        for row in rows:
            found = [write(row, split, folder / split, setting, p) for split in ("val", "test")]
            seconds, evaluations = zip(*found, strict=True)
            write_json(f"metrics/cost/infer-{row.key}.json", cost(sum(seconds), np.concatenate(evaluations)))
            for name, cohort in cohorts.items():
                write(row, "test", folder / name, replace(setting, slices=cohort), p)


def write(row: Row, split: str, folder: Path, setting: Setting, p: dict[str, Any]) -> tuple[float, np.ndarray]:
    """<row>.npz in the folder; (seconds, int64 (n,) network evaluations of each slice). None if modalities are absent.

    UserError if the split has no slices.
    """
    slices, path = setting.slices, folder / f"{row.key}.npz"
    scorer = row.module.scorer(p, row.models, slices, setting.fabric.device, row.pair)
    absent = [name for name in scorer.modalities if name not in slices.modalities]
    if absent:
        run.log(f"{row.key}: left out for {folder.name}, which has no {', '.join(absent)}")
        path.unlink(missing_ok=True)
        return 0.0, np.empty(0, np.int64)
    rows = chosen(slices.index, split, setting.infer.slice_step)
    if len(rows) == 0:
        raise UserError(f"{slices.folder / 'index.csv'}: no slices in split {split!r}, expected some; run the stage before")
    warm_up(scorer, rows[0], setting)
    arrays, evaluations, seconds = predict(scorer, rows, setting, f"residuals {row.key} {folder.name}")
    kept = {name: arrays[name] for name in KEPT if name in arrays}
    write_npz(path, modalities=np.array(scorer.modalities), **kept)
    return seconds, evaluations


if __name__ == "__main__":
    run.main(main)
