"""README.md shows the results that are in git."""

from pathlib import Path

from gliomap.base import params
from gliomap.scoring import report_answer
from stage_toys import stage_of

ROOT = Path(__file__).resolve().parents[1]


def test_the_readme_shows_the_results_in_metrics(monkeypatch):
    """Fails if results were committed without README.md (`dvc repro` writes it), or somebody wrote between the markers."""
    monkeypatch.chdir(ROOT)
    stage = stage_of("report")
    setup, rows = stage.found(params.read(stage.SECTIONS))
    text = Path("README.md").read_text(encoding="utf-8")
    assert report_answer.with_block(text, report_answer.readme_block(rows, setup, stage.FIGURE)) == text
    assert Path(stage.FIGURE).is_file()
