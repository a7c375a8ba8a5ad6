"""All of TSGM's figures by file name, with their captions: which slices they show, and what their colours mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure

from gliomap.base.errors import UserError
from gliomap.scoring import tsgm_charts, tsgm_figures, tsgm_pictures, tsgm_study
from gliomap.scoring.tsgm_figures import Scored
from gliomap.scoring.tsgm_study import Study

TUMOURS, COHORT, HEALTHY = 3, 2, 2  # slices of Fig. 2, of each cohort of Fig. 4, of Fig. 9
CAPTIONS = {
    "maps": "Fig. 2: maps, each from 0 to its maximum, masks with Dice; lines: truth; a slice of each third by tumour area",
    "restored": "Fig. 3: restorations, and residuals in one scale a modality; lines: truth; {slice}",
    "external": "Fig. 4: external cohorts ({cohorts}), tested only; as Fig. 2",
    "boxes": "Fig. 5: test slices with tumour; dashed: mean",
    "weights": "Fig. 6: best weights of validation slices; solid: mean, dotted: published",
    "sweeps": "Fig. 7 a, b: the sampler on {n} validation slices",
    "levels": "Fig. 7 c: restorations by number of noise levels N, and residuals in one scale a slice",
    "runs": "Fig. 8: maps of runs with other noise, in one scale a slice",
    "healthy": "Fig. 9: slices without tumour; a row's colours span its maps of all test slices; below: what is marked",
}


def of_slices(test: Scored, external: Sequence[Scored], names: Mapping[str, str], words: str) -> dict[str, Figure]:
    """maps, restored, external, healthy. names: by row; words: end of all captions. UserError without tumour slices."""
    ill = tsgm_figures.ill(test, TUMOURS)
    if not ill:
        folder = test.population.slices.folder
        raise UserError(f"{folder}: found no test slice with tumour, expected one or more; use more patients")
    well = tsgm_figures.healthy(test, HEALTHY)
    outside = [one for s in external for one in tsgm_figures.shown(s, tsgm_figures.ill(s, COHORT))]
    middle = tsgm_figures.restored(test, ill[len(ill) // 2])
    cohorts = ", ".join(s.population.name for s in external) or "none"
    about = middle.label.replace("\n", ", ")
    return {
        "maps": tsgm_pictures.maps(tsgm_figures.shown(test, ill), names, _caption("maps", words)),
        "restored": tsgm_pictures.restorations(middle, names, _caption("restored", words, slice=about)),
        "external": tsgm_pictures.maps(outside, names, _caption("external", words, cohorts=cohorts)),
        "healthy": tsgm_pictures.healthy(tsgm_figures.shown(test, well), names, _caption("healthy", words)),
    }


def of_scores(
    scores: pd.DataFrame, optima: Mapping[str, pd.DataFrame], names: Mapping[str, str], words: str
) -> dict[str, Figure]:
    """boxes of tsgm_figures.scores_by_method, and weights of tsgm_figures.optima."""
    return {
        "boxes": tsgm_charts.boxes(scores, _caption("boxes", words)),
        "weights": tsgm_charts.histograms(optima, names, _caption("weights", words)),
    }


def of_study(study: Study, component_px: int, words: str) -> tuple[dict[str, pd.DataFrame], dict[str, Figure]]:
    """Tables snr and levels; pictures sweeps, levels, runs."""
    by_snr = tsgm_study.scores(study, study.snr_residual, component_px)
    by_levels = tsgm_study.scores(study, study.levels_residual, component_px)
    tables = {
        "snr": tsgm_study.sweep("snr", study.snr, *by_snr),
        "levels": tsgm_study.sweep("levels", study.levels, *by_levels),
    }
    heading = _caption("sweeps", words, n=len(study.labels))
    return tables, {
        "sweeps": tsgm_charts.sweeps(tables["snr"], by_snr[0], tables["levels"], study.labels, heading),
        "levels": tsgm_pictures.levels(study, _caption("levels", words)),
        "runs": tsgm_pictures.runs(study, tsgm_study.runs(study), _caption("runs", words)),
    }


def _caption(name: str, words: str, **values: object) -> str:
    return f"TSGM, {CAPTIONS[name].format(**values)}; {words}"
