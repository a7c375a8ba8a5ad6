"""External cohorts: any voxel size onto BraTS's grid, any subset of modalities, one split, and what is refused."""

import dataclasses
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

import cohorts
from gliomap.base import files, params
from gliomap.base.errors import UserError
from gliomap.data import external, grid
from gliomap.data.case import MODALITIES, find_cases
from gliomap.data.checks import Expected, examine
from gliomap.data.external import External, ExternalPhantom
from gliomap.data.phantom.settings import Knobs, affine
from gliomap.data.scan import Scan
from gliomap.data.slices import Slices
from stage_toys import ROOT, stage_of

FIRST = np.array([66, 76, 35])  # voxel of the grid on which the first voxel of 8 mm lies
COARSE = np.array([[-8.0, 0, 0, -66], [0, -8, 0, 239 - 76], [0, 0, 8, 35], [0, 0, 0, 1]])
SHAPE = (14, 14, 10)
LOCAL = External("local", "thick", "raw", MODALITIES)
KNOBS = Knobs(1, 1, 1, 1, 1)
PARAMS = """
data: phantom
scale: smoke
data_seed: 0
cohort: {on_bad_case: fail}
phantom: {knobs: {oedema: 1, cyst: 1, wmh: 1, snr: 1, bias: 1}}
external_phantom: {subjects: auto}
preprocess:
  common: {size: 24, crop: 192, z_first: 60, z_last: 90, z_step: 10, p_up: 0.995, min_brain_mm2: 500}
"""


def write_case(root, name, roles=(*MODALITIES, "seg"), space=COARSE):
    """One case of 8 mm voxels whose brain, a small one, lies where SRI24 has it."""
    content = cohorts.volumes(SHAPE, seed=sum(map(ord, name)))
    for role in roles:
        cohorts.write(root / name / f"{name}_{role}.nii.gz", content[role], space)


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository with two local cohorts of two cases; the first has T1ce only."""
    monkeypatch.setenv("GLIOMAP_WORKERS", "1")
    monkeypatch.delenv("DVC_ROOT", raising=False)
    monkeypatch.delenv("GLIOMAP_WORK", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(PARAMS)
    for name, roles in (("icts", ("t1ce",)), ("inhouse", MODALITIES)):
        for i in range(2):
            write_case(tmp_path / f"raw-{name}", f"{name}{i}", (*roles, "seg"))
        path = tmp_path / external.config(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"kind: local\nphantom: thick\nroot: raw-{name}\nmodalities: [{', '.join(roles)}]\n")
    (tmp_path / "conf" / "scale").mkdir()
    (tmp_path / "conf" / "scale" / "smoke.yaml").write_text("external_phantom: {subjects: 2}\n")
    return tmp_path


def run_stage(*cohorts_):
    stage_of("external").main([*cohorts_, "--recipe", "common"])


def problems(root):
    return [p.what for p in examine(find_cases(root)[0], Expected(voxel=None, placed=grid.placed)).problems]


def test_a_plane_of_grey_values_is_reproduced_by_linear_interpolation(tmp_path):
    x, y, z = np.meshgrid(*map(np.arange, SHAPE), indexing="ij")
    ramp = np.float32(100 + 3 * x + 5 * y + 7 * z)
    brain = cohorts.volumes(SHAPE)["flair"] > 0
    for role in MODALITIES:
        cohorts.write(tmp_path / "a" / f"a_{role}.nii.gz", np.where(brain, ramp, np.float32(0)), COARSE)
    cohorts.write(tmp_path / "a" / "a_seg.nii.gz", brain.astype(np.uint8), COARSE)
    scan = grid.read_registered(find_cases(tmp_path)[0])
    assert scan.labels.shape == (240, 240, 155)
    inside = scan.volumes["flair"] > 0
    np.testing.assert_array_equal(inside, scan.labels > 0)  # nearest voxel decides on both
    deep = np.argwhere(ndimage.binary_erosion(brain, np.ones((3, 3, 3))))
    assert len(deep) > 50
    for at in deep[::7]:
        between = FIRST + 8 * at + (4, 2, 6)
        expected = 100 + (np.array([3, 5, 7]) * (at + np.array([.5, .25, .75]))).sum()
        assert scan.volumes["flair"][tuple(between)] == pytest.approx(expected, abs=1e-3)
    assert scan.volumes["flair"][inside].min() >= ramp[brain].min() - 1e-3  # the background does not mix in


def test_cases_on_the_grid_are_left_as_they_are(tmp_path):
    volume = np.zeros((240, 240, 155), np.int16)
    volume[100:140, 110:150, 60:90] = np.arange(40)[:, None, None] + 1
    cohorts.write(tmp_path / "a" / "a_t1ce.nii.gz", volume, affine(1))
    cohorts.write(tmp_path / "a" / "a_seg.nii.gz", (volume > 30).astype(np.uint8) * 4, affine(1))
    scan = grid.read_registered(find_cases(tmp_path)[0])
    assert (scan.modalities, scan.volumes["t1ce"].dtype) == (("t1ce",), np.int16)
    np.testing.assert_array_equal(scan.volumes["t1ce"], volume)


def test_stored_axes_do_not_matter(tmp_path):
    write_case(tmp_path / "a", "x")
    for path in (tmp_path / "a" / "x").iterdir():
        image = nib.load(path)
        turned = image.as_reoriented(nib.orientations.axcodes2ornt("SAR"))  # any permutation with flips
        (tmp_path / "b" / "x").mkdir(parents=True, exist_ok=True)
        nib.save(turned, tmp_path / "b" / "x" / path.name)
    one, other = (grid.read_registered(find_cases(tmp_path / folder)[0]) for folder in "ab")
    np.testing.assert_array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.volumes["t2"], other.volumes["t2"], atol=1e-3)


def test_a_scan_without_the_modality_of_the_brain_uses_those_that_are_there():
    volume = np.zeros((4, 4, 4), np.int16)
    volume[1:3] = 5
    scan = Scan({"t1ce": volume}, np.zeros((4, 4, 4), np.uint8))
    np.testing.assert_array_equal(scan.brain(("t2",)), volume > 0)
    np.testing.assert_array_equal(scan.brain(), volume > 0)


def test_registered_cases_of_any_voxel_size_have_no_problem(tmp_path):
    write_case(tmp_path, "x")
    assert problems(tmp_path) == []


@pytest.mark.parametrize(("left", "what"), [
    (20, None), (45, "brain not where SRI24 has it"), (96, "brain outside of the BraTS grid"),
    (400, "brain outside of the BraTS grid"),
])  # fmt: skip
def test_unregistered_cases_are_named_with_the_remedy(tmp_path, left, what):
    space = COARSE.copy()
    space[0, 3] -= left  # mm
    write_case(tmp_path, "x", space=space)
    finding = examine(find_cases(tmp_path)[0], Expected(voxel=None, placed=grid.placed))
    assert {p.what for p in finding.problems} == ({what} if what else set())
    assert all("SRI24" in p.remedy for p in finding.problems)


def test_files_of_one_case_must_share_a_grid(tmp_path):
    write_case(tmp_path, "x")
    cohorts.write(tmp_path / "x" / "x_t2.nii.gz", cohorts.volumes((14, 14, 11))["t2"], COARSE)
    finding = examine(find_cases(tmp_path)[0], Expected(voxel=None, placed=grid.placed))
    wrong = [p for p in finding.problems if p.what == "wrong shape"]
    assert [(p.file, p.expected, p.found) for p in wrong] == [("x/x_t2.nii.gz", "14x14x10", "14x14x11")]
    assert not finding.usable


def test_tumour_volume_follows_the_voxel_size(tmp_path):
    write_case(tmp_path, "x")
    voxels = (cohorts.volumes(SHAPE, seed=ord("x"))["seg"] > 0).sum()
    finding = examine(find_cases(tmp_path)[0], Expected(voxel=None))
    assert finding.tumour_ml == pytest.approx(voxels * 8**3 / 1000)


def test_the_stage_writes_stores_with_the_one_split_test(repository, capsys):
    run_stage("icts", "inhouse")
    for name, modalities in (("icts", ("t1ce",)), ("inhouse", MODALITIES)):
        slices = Slices.open(Path("data/external") / name)
        assert slices.modalities == modalities
        assert slices.images.shape == (8, len(modalities), 24, 24)
        assert len(slices.rows("test")) == 8
        assert slices.masks("test").shape == (8, 24, 24)
        assert (len(slices.rows("train", tumour=False)), len(slices.masks("val"))) == (0, 0)
        assert len(slices.rows("test", tumour=True)) > 0
        assert slices.quantiles_of([0]).shape == (1, len(modalities), 257)
    report = files.read_json("metrics/external.json")
    assert report["icts"]["slices"]["slices"] == 8
    assert report["icts"]["modalities"] == ["t1ce"]
    assert report["inhouse"]["source"] == "local"
    assert "icts: 2 patients" in capsys.readouterr().out


def test_nothing_is_written_if_any_cohort_is_bad(repository):
    next((repository / "raw-inhouse").rglob("*_t2.nii.gz")).unlink()
    with pytest.raises(UserError, match=r"(?s)inhouse0.*missing modality"):
        run_stage("icts", "inhouse")
    assert not Path("data").exists()
    assert not Path("metrics").exists()


def test_an_unknown_cohort_says_which_there_are(repository):
    with pytest.raises(UserError, match=r"ictz\.yaml: no such file; there are: icts, inhouse"):
        run_stage("ictz")


def test_other_modalities_than_the_cohorts_are_not_looked_at(repository):
    cohort = params.convert(params.load(Path("conf/external/inhouse.yaml")), External, "x", "")
    two = dataclasses.replace(cohort, modalities=("flair", "t1"))
    cases = external.obtain("inhouse", two, ExternalPhantom(2), KNOBS, 0)
    assert [tuple(case.files) for case in cases] == [("t1", "flair")] * 2  # in the order of MODALITIES


@pytest.mark.parametrize(("change", "words"), [
    ({"modalities": ()}, r"conf/external/inhouse\.yaml: modalities is empty"),
    ({"root": " "}, r"conf/external/inhouse\.yaml: root is empty"),
    ({"root": "nowhere"}, r"nowhere: no such folder.*set `root` in conf/external/inhouse\.yaml"),
    ({"root": "conf"}, r"conf: no cases found"),
    ({"kind": "phantom", "phantom": "meningioma"}, r"modalities has t1, t2, flair, but phantom meningioma has only t1ce"),
])  # fmt: skip
def test_what_a_user_gets_wrong_is_one_sentence(repository, change, words):
    with pytest.raises(UserError, match=words):
        external.obtain("inhouse", dataclasses.replace(LOCAL, **change), ExternalPhantom(2), KNOBS, 0)


def test_each_phantom_cohort_is_generated_below_its_own_root(repository, monkeypatch):
    asked = []

    def generate_below(root, settings, seed, population):
        asked.append((root.name, settings.subjects, settings.voxel, seed, population))
        write_case(root / "made", "x")
        return "made"

    monkeypatch.setattr(external, "generate_below", generate_below)
    for name in ("icts", "inhouse"):
        cohort = params.convert(params.load(ROOT / external.config(name)), External, name, "")
        cases = external.obtain(name, cohort, ExternalPhantom(5), KNOBS, 3)
        assert len(cases) == 1
    assert asked == [("phantom-meningioma", 5, 1, 3, "meningioma"), ("phantom-thick", 5, 1, 3, "thick")]


def test_a_section_that_ends_in_yaml_is_that_file(repository):
    path = external.config("icts")
    assert params.read({path: External}, repository)[path] == External("local", "thick", "raw-icts", ("t1ce",))
