"""Where cohorts come from: roots, the phantom's own folder, archives, and the files in conf/data."""

from pathlib import Path

import pytest

import cohorts
from gliomap.base import params
from gliomap.base.errors import UserError
from gliomap.data import sources
from gliomap.data.cohort import Cohort
from gliomap.data.location import Source, folder
from gliomap.data.phantom import cohort as phantom_cohort
from gliomap.data.phantom.settings import Knobs, PhantomSettings

ROOT = Path(__file__).resolve().parents[1]
KINDS = ("phantom", "local", "msd", "brats2020", "brats2021")
KNOBS = Knobs(1, 1, 1, 1, 1)
COHORT = Cohort("fail", 0, (240, 240, 155))


def settings(subjects=3, voxel=2):
    return PhantomSettings(subjects, 0, voxel, KNOBS)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The user's repository, while the stage runs in a temporary copy of it."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "home"))
    monkeypatch.delenv("GLIOMAP_WORK", raising=False)
    (tmp_path / "copy").mkdir()
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "home"


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_in_conf_data_is_a_source_of_its_own_name(kind):
    source = params.convert(params.load(ROOT / "conf" / "data" / f"{kind}.yaml"), Source, f"{kind}.yaml", "")
    assert source.kind == kind
    assert (source.root == "") == (kind == "local")
    assert {p.stem for p in (ROOT / "conf" / "data").glob("*.yaml")} == set(KINDS)


def test_relative_roots_are_below_the_users_repository_not_the_copy(home):
    assert folder(Source("local", "cases", "")) == home / "cases"
    assert folder(Source("local", "/data/cases", "")) == Path("/data/cases")
    assert folder(Source("phantom", "work/raw/phantom", "")) == home / "work" / "raw" / "phantom"


def test_roots_below_work_follow_the_scratch_folder(home, monkeypatch, tmp_path):
    monkeypatch.setenv("GLIOMAP_WORK", str(tmp_path / "scratch"))
    assert folder(Source("msd", "work/raw/msd", "")) == tmp_path / "scratch" / "raw" / "msd"


def test_an_empty_root_names_the_one_command(home):
    with pytest.raises(UserError, match=r"dvc exp run -S data=local -S conf/data/local.yaml:root=/path/to/cases"):
        folder(Source("local", " ", ""))


def test_each_phantom_has_a_folder_of_its_own(home, monkeypatch):
    made = []

    def generate(root, settings, seed, workers, population):
        made.append(root)
        cohorts.write_cohort(root, "brats2020", [f"Phantom_{i + 1:03d}" for i in range(settings.subjects)])

    monkeypatch.setattr(phantom_cohort, "generate", generate)
    source = Source("phantom", "work/raw/phantom", "")
    for phantom, seed in ((settings(), 0), (settings(), 1), (settings(voxel=1), 0), (settings(), 0)):
        cases = sources.obtain(source, 0, phantom, seed)
        assert [c.id for c in cases] == ["Phantom_001", "Phantom_002", "Phantom_003"]
        assert all(path.startswith(f"{made[-1].name}/Phantom_") for path in cases[0].all_files.values())
        assert cases[0].root == home / "work" / "raw" / "phantom"
    assert len(set(made)) == 3
    assert made[0] == made[3]


@pytest.mark.parametrize("kind", ["msd", "brats2020", "brats2021"])
def test_archives_are_fetched_and_then_searched(home, monkeypatch, kind):
    asked = []

    def fetch(name, root, synapse):
        asked.append((name, root, synapse))
        cohorts.write_cohort(root / "archive", "msd" if kind == "msd" else "brats2020", 2)
        return root

    monkeypatch.setattr(sources, "fetch", fetch)
    cases = sources.obtain(Source(kind, f"work/raw/{kind}", "syn1"), 1, settings(), 0)
    assert asked == [(kind, home / "work" / "raw" / kind, "syn1")]
    assert len(cases) == 1
    assert all(path.startswith("archive/") for path in cases[0].all_files.values())


def test_no_cases_says_which_names_are_looked_for(home):
    (home / "cases").mkdir(parents=True)
    with pytest.raises(UserError, match=r"cases: no cases found, expected files named <id>_t1.nii.gz .* set `root` in"):
        sources.obtain(Source("local", "cases", ""), 0, settings(), 0)


@pytest.mark.parametrize(
    ("kind", "voxel", "expected"),
    [("phantom", 1, ((240, 240, 155), 1.0)), ("phantom", 2, ((120, 120, 78), 2.0)), ("local", 2, ((240, 240, 155), 1.0))],
)
def test_the_phantom_knows_its_own_geometry(kind, voxel, expected):
    assert sources.geometry(Source(kind, "x", ""), COHORT, settings(voxel=voxel)) == expected
