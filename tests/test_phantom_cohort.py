"""The phantom on disk: same bytes for any subset and any number of processes, resume, layout, what is refused."""

import dataclasses
import gzip
import json
import os
import shutil

import nibabel as nib
import numpy as np
import pytest

from gliomap.base.errors import UserError
from gliomap.data.phantom import atlas, cohort, writer
from gliomap.data.phantom.cohort import generate
from gliomap.data.phantom.settings import PhantomSettings, affine
from phantom_realism import EVEN, atlas_folder

THREE = PhantomSettings(subjects=3, healthy=1, voxel=2, knobs=EVEN)


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A scratch folder that holds the atlas."""
    template = atlas.cached(atlas_folder(tmp_path_factory))
    folder = tmp_path_factory.mktemp("work")
    (folder / "cache").mkdir()
    shutil.copy(template, folder / "cache")
    return folder


@pytest.fixture(autouse=True)
def scratch(work, monkeypatch):
    monkeypatch.setenv("GLIOMAP_WORK", str(work))


@pytest.fixture(scope="session")
def made(work, tmp_path_factory):
    """Three cases, written by two processes."""
    root = tmp_path_factory.mktemp("phantom") / "cases"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GLIOMAP_WORK", str(work))
        assert generate(root, THREE, 2020, 2) == ["Phantom_001", "Phantom_002", "Phantom_003"]
    return root


@pytest.fixture
def copy(made, tmp_path):
    return shutil.copytree(made, tmp_path / "cases")


@pytest.fixture
def written(monkeypatch):
    """Indices of the cases that are generated, in this process and at no cost."""
    seen = []

    def note(root, jobs, workers):
        seen.extend(job.index for job in jobs)

    monkeypatch.setattr(cohort, "_write_all", note)
    return seen


def contents(root):
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def test_layout_is_that_of_brats_2020(made):
    assert sorted(contents(made))[:7] == ["Phantom_001/" + name for name in (
        "Phantom_001_flair.nii.gz", "Phantom_001_seg.nii.gz", "Phantom_001_t1.nii.gz", "Phantom_001_t1ce.nii.gz",
        "Phantom_001_t2.nii.gz", "subject.json")] + ["Phantom_002/Phantom_002_flair.nii.gz"]  # fmt: skip
    image = nib.load(made / "Phantom_001" / "Phantom_001_flair.nii.gz")
    assert image.shape == (120, 120, 78)
    assert image.get_data_dtype() == np.int16
    assert image.header.get_zooms() == (2, 2, 2)
    np.testing.assert_array_equal(image.affine, affine(2))
    seg = nib.load(made / "Phantom_001" / "Phantom_001_seg.nii.gz")
    assert seg.get_data_dtype() == np.uint8
    assert set(np.unique(np.asarray(seg.dataobj))) <= {0, 1, 2, 4}
    assert np.asarray(seg.dataobj).any()


def test_last_subjects_are_healthy_with_an_empty_seg(made):
    assert not np.asarray(nib.load(made / "Phantom_003" / "Phantom_003_seg.nii.gz").dataobj).any()
    assert json.loads((made / "Phantom_003" / "subject.json").read_text())["tumour"] is None


def test_cohort_says_that_it_is_generated_and_carries_the_notice(made):
    card = json.loads((made / "dataset.json").read_text())
    assert card["generated"] is True
    assert card["seed"] == 2020
    assert card["settings"]["knobs"]["snr"] == 1.0
    assert "McGill" in card["notice"]
    assert json.loads((made / "Phantom_001" / "subject.json").read_text())["generated"] is True


def test_affine_at_1_mm_is_that_of_brats_and_2_mm_covers_the_same_box():
    np.testing.assert_array_equal(affine(1), [[-1, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
    corner = np.array([-.5, -.5, -.5, 1])
    np.testing.assert_allclose(affine(1) @ corner, affine(2) @ corner)


def test_gzip_has_no_time_stamp_and_nibabel_reads_back_what_was_written(tmp_path):
    volume = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
    packed = writer.compress(writer.nifti(volume, affine(1)))
    assert packed[4:8] == bytes(4)
    assert gzip.decompress(packed) == writer.nifti(volume, affine(1))
    (tmp_path / "x.nii.gz").write_bytes(packed)
    np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / "x.nii.gz").dataobj), volume)


@pytest.mark.slow
def test_subset_by_one_process_has_the_same_bytes(made, tmp_path):
    two = dataclasses.replace(THREE, subjects=2, healthy=0)
    assert generate(tmp_path / "few", two, 2020, 1) == ["Phantom_001", "Phantom_002"]
    expected = {k: v for k, v in contents(made).items() if not k.startswith(("Phantom_003", "dataset"))}
    assert {k: v for k, v in contents(tmp_path / "few").items() if k != "dataset.json"} == expected


@pytest.mark.slow
def test_damaged_run_continues_and_ends_in_the_same_bytes(made, copy):
    (copy / "Phantom_002" / "subject.json").unlink()
    (copy / "Phantom_002" / "Phantom_002_t2.nii.gz").write_bytes(b"half")
    (copy / "Phantom_002" / "Phantom_002_t2.nii.gz.77.tmp").write_bytes(b"left over")
    whole = (copy / "Phantom_001" / "Phantom_001_t1.nii.gz").stat().st_mtime_ns
    generate(copy, THREE, 2020, 1)
    assert contents(copy) == contents(made)
    assert (copy / "Phantom_001" / "Phantom_001_t1.nii.gz").stat().st_mtime_ns == whole


def test_whole_cases_are_not_made_again(copy, written):
    generate(copy, THREE, 2020, 2)
    assert written == []


@pytest.mark.parametrize("missing", ["Phantom_002_flair.nii.gz", "subject.json"])
def test_partial_case_is_made_again(copy, written, missing):
    (copy / "Phantom_002" / missing).unlink()
    generate(copy, THREE, 2020, 2)
    assert written == [2]


@pytest.mark.parametrize(("change", "again"), [
    ({"subjects": 5, "healthy": 3}, [4, 5]), ({"healthy": 2}, [2]), ({"voxel": 1}, [1, 2, 3]),
    ({"knobs": dataclasses.replace(EVEN, snr=.5)}, [1, 2, 3]),
])  # fmt: skip
def test_only_what_changed_is_made_again(copy, written, change, again):
    generate(copy, dataclasses.replace(THREE, **change), 2020, 2)
    assert written == again


def test_other_seed_or_other_code_makes_everything_again(copy, written, monkeypatch):
    generate(copy, THREE, 2021, 2)
    assert written == [1, 2, 3]
    written.clear()
    monkeypatch.setattr(cohort, "_code", lambda: "edited")
    generate(copy, THREE, 2020, 2)
    assert written == [1, 2, 3]


def test_smaller_cohort_removes_the_cases_beyond_it(copy, written):
    assert generate(copy, dataclasses.replace(THREE, subjects=2, healthy=0), 2020, 2) == ["Phantom_001", "Phantom_002"]
    assert not (copy / "Phantom_003").exists()
    assert written == []


def test_foreign_folder_is_refused_and_untouched(tmp_path, written):
    (tmp_path / "Phantom_007").mkdir()
    with pytest.raises(UserError, match=r"no dataset\.json of a generated cohort"):
        generate(tmp_path, THREE, 2020, 1)
    assert (tmp_path / "Phantom_007").is_dir()
    assert written == []


def test_more_healthy_than_subjects_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"phantom\.healthy is 4, expected at most"):
        generate(tmp_path / "x", dataclasses.replace(THREE, healthy=4), 2020, 1)
    assert not (tmp_path / "x").exists()


@pytest.mark.slow
def test_process_that_dies_is_a_user_error_that_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(cohort, "_make", _die)
    with pytest.raises(UserError, match="smaller GLIOMAP_WORKERS"):
        generate(tmp_path / "x", THREE, 2020, 2)


def _die(*_):
    os._exit(9)
