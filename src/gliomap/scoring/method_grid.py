"""The picture of one method as a job of its own, so that several processes draw at once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pandas as pd

from gliomap.data.slices import Slices
from gliomap.scoring import figures, gallery, pictures
from gliomap.scoring.gallery import Figures
from gliomap.scoring.leaderboard import SLICES, Entry


@dataclass(frozen=True)
class Job:
    """All that the picture depends on besides files. scores: of the entry; where: words for the caption."""

    entry: Entry
    scores: pd.DataFrame
    settings: Figures
    where: str
    out: Path


def draw(job: Job) -> None:
    """Write the picture, on the modality that the method's map belongs to."""
    entry, scores = job.entry, job.scores
    slices = _opened(SLICES / entry.system)
    found = gallery.read(entry.place, scores)
    chosen = gallery.choose(scores, job.settings.tumour_slices, job.settings.healthy_slices)
    modality = next((name for name in entry.modalities if name in slices.modalities), slices.modalities[-1])
    shown = gallery.examples(found, chosen, slices, modality)
    caption = f"{len(chosen)} of {len(scores)} test slices; {job.where}"
    names = (entry.name, pictures.NAMES.get(modality, modality))
    with pictures.style():
        figure = figures.grid(shown, gallery.scale(found, shown, slices), names, caption)
        pictures.save(figure, job.out, job.settings.dpi)


@lru_cache(maxsize=1)
def _opened(folder: Path) -> Slices:
    return Slices.open(folder)
