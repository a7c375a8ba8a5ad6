"""The slice store: what is written is what is read, the same bytes by any number of workers, whole or not at all."""

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

import cohorts
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data import case, montage, scan, store
from gliomap.data.recipe import prepare
from gliomap.data.recipes import Common, Mmccd, Norm, PerModality
from gliomap.data.slices import Slices

RECIPE = Common(size=10, crop=20, z_first=5, z_last=10, z_step=1, p_up=0.995, min_brain_mm2=20)
LARGEST = Mmccd(
    follow="code", size=16, z_first=5, z_last=10, z_step=1, norm=Norm("follow", PerModality(0.9, 0.9, 0.9, 0.9), 0.02),
    label_bin="any", brain_of="t2", largest_only=("test",),
)  # fmt: skip
SPLIT = ("train", "val", "train", "test", "train")
FILES = {
    "images.npy", "brain.npy", "quantiles.npy", "index.csv", "recipe.json",
    *(f"masks_{s}.npy" for s in ("train", "val", "test")), *(f"labels_{s}.csv" for s in ("train", "val", "test")),
}  # fmt: skip


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    root = tmp_path_factory.mktemp("cohort")
    ids = cohorts.write_cohort(root, cases=4)
    cohorts.write_case(root, "brats2020", "BraTS20_Training_005", cohorts.volumes(seed=9, tumour=False))
    cases = case.find_cases(root)
    assert [c.id for c in cases][:4] == ids
    return [store.Job(c, split) for c, split in zip(cases, SPLIT, strict=True)]


@pytest.fixture(scope="module")
def written(jobs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("slices") / "common"
    report = store.write(folder, "common", RECIPE, jobs, 1)
    assert files.read_json(folder / "recipe.json") == json.loads(json.dumps(report))
    return folder


def test_exactly_the_promised_files_and_no_temporary_ones(written):
    assert {p.name for p in written.iterdir()} == FILES
    assert [p.name for p in written.parent.iterdir()] == ["common"]


def test_what_is_read_is_what_was_prepared(written, jobs):
    slices = Slices.open(written)
    assert slices.modalities == ("t1", "t1ce", "t2", "flair")
    assert (slices.pixel_mm, slices.background) == (2.0, -1.0)
    for job in jobs:
        expected = prepare(scan.read_scan(job.case), RECIPE, job.split)
        rows = slices.index.index[slices.index["case"] == job.case.id].to_numpy()
        assert slices.index["z"][rows].tolist() == expected.z.tolist()
        assert set(slices.index["split"][rows]) == {job.split}
        np.testing.assert_array_equal(slices.read(rows, slices.modalities), expected.images.astype(np.float32))
        np.testing.assert_array_equal(slices.brain_of(rows), expected.brain.astype(bool))
        np.testing.assert_array_equal(slices.quantiles_of(rows), np.broadcast_to(expected.quantiles, (len(rows), 4, 257)))
        where = np.searchsorted(slices.mask_rows(job.split), rows)
        np.testing.assert_array_equal(slices.masks(job.split)[where], expected.masks)
        labels = slices.labels(job.split).set_index("row").loc[rows]
        assert labels["tumour_px"].tolist() == expected.tumour_px.tolist()
        assert labels["tumour"].tolist() == expected.tumour.astype(int).tolist()


def test_rows_partition_the_index_and_patients_stay_in_one_split(written):
    slices = Slices.open(written)
    rows = [slices.rows(split) for split in ("train", "val", "test")]
    assert sorted(np.concatenate(rows)) == list(range(len(slices.index)))
    assert (slices.index.groupby("patient")["split"].nunique() == 1).all()
    tumour, healthy = slices.rows("train", tumour=True), slices.rows("train", tumour=False)
    assert len(tumour)
    assert len(healthy)
    assert sorted([*tumour, *healthy]) == rows[0].tolist()
    assert set(healthy) >= set(slices.index.index[slices.index["case"] == "BraTS20_Training_005"])


def test_modalities_come_in_the_order_asked_for(written):
    slices, rows = Slices.open(written), np.array([3, 0])
    both = slices.read(rows, ("flair", "t1"))
    assert both.dtype == np.float32
    assert both.flags.writeable
    np.testing.assert_array_equal(both[:, 0], slices.images[[3, 0], 3])
    np.testing.assert_array_equal(both[:, 1], slices.images[[3, 0], 0])


def test_counts_in_the_report(written):
    report, slices = files.read_json(written / "recipe.json"), Slices.open(written)
    assert report["counts"]["train"]["patients"] == 3
    assert sum(c["slices"] for c in report["counts"].values()) == len(slices.index)
    assert report["counts"]["train"]["tumour_slices"] == len(slices.rows("train", tumour=True))
    assert report["parameters"]["p_up"] == RECIPE.p_up
    assert "/" not in json.dumps(report)


def test_only_what_is_asked_for_is_opened(written, tmp_path):
    for name in ("index.csv", "recipe.json", "brain.npy"):
        (tmp_path / name).write_bytes((written / name).read_bytes())
    slices = Slices.open(tmp_path)
    assert slices.brain_of([0]).any()
    assert len(slices.rows("test"))
    for missing in (lambda: slices.read([0], ("t1",)), lambda: slices.masks("test"), lambda: slices.rows("test", True)):
        with pytest.raises(UserError, match="no such file"):
            missing()


def test_damaged_stores_are_refused(written, tmp_path):
    for path in written.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with pytest.raises(UserError, match="no modality 'pd'"):
        Slices.open(tmp_path).read([0], ("pd",))
    whole = files.read_json(tmp_path / "recipe.json")
    files.write_json(tmp_path / "recipe.json", {name: value for name, value in whole.items() if name != "recipe"})
    with pytest.raises(UserError, match=r"recipe.json: found no recipe, expected recipe, modalities"):
        Slices.open(tmp_path)
    files.write_json(tmp_path / "recipe.json", whole)
    np.save(tmp_path / "brain.npy", np.zeros((2, 10, 10), np.uint8))
    with pytest.raises(UserError, match=r"brain.npy: holds 2"):
        Slices.open(tmp_path).brain_of([0])
    (tmp_path / "images.npy").write_bytes(b"no")
    with pytest.raises(UserError, match=r"images.npy: not a readable"):
        Slices.open(tmp_path).read([0], ("t1",))
    (tmp_path / "labels_val.csv").write_text("row,tumour_px,tumour\n0,0,0\n")
    with pytest.raises(UserError, match="labels_val"):
        Slices.open(tmp_path).rows("val", tumour=True)
    (tmp_path / "index.csv").write_text("row,case,patient,z,split,brain_px\n4,a,a,1,train,3\n")
    with pytest.raises(UserError, match=r"index.csv"):
        Slices.open(tmp_path)


@pytest.mark.slow
def test_two_workers_write_the_same_bytes_as_one(written, jobs, tmp_path):
    store.write(tmp_path / "common", "common", RECIPE, jobs, 2)
    for path in written.iterdir():
        assert files.md5(path) == files.md5(tmp_path / "common" / path.name), path.name


def test_one_slice_per_test_patient_and_the_skipped_are_named(jobs, tmp_path):
    swapped = [replace(job, split=s) for job, s in zip(jobs, ("train", "val", "train", "test", "test"), strict=True)]
    report = store.write(tmp_path / "mmccd", "mmccd", LARGEST, swapped, 1)
    slices = Slices.open(tmp_path / "mmccd")
    assert len(slices.rows("test")) == len(slices.rows("test", tumour=True)) == 1
    area = slices.labels("test")["tumour_px"].iloc[0]
    assert area == case.read_mask(jobs[3].case)[:, :, 5:11].astype(bool).sum((0, 1)).max()
    assert [(s["case"], s["split"]) for s in report["skipped"]] == [("BraTS20_Training_005", "test")]
    assert len(slices.quantiles_of([0])) == 1
    assert slices.background == -3


def test_a_failing_case_leaves_nothing_and_all_of_them_are_named(written, jobs, tmp_path):
    root = tmp_path / "raw"
    cohorts.write_cohort(root, cases=4)
    broken = case.find_cases(root)
    for one in (broken[1], broken[3]):
        path = root / one.files["t2"]
        nib.save(nib.Nifti1Image(np.zeros(cohorts.SHAPE, np.int16), cohorts.AFFINE), path)
    target = tmp_path / "slices" / "common"
    target.mkdir(parents=True)
    (target / "index.csv").write_text("old")
    all_jobs = [store.Job(c, s) for c, s in zip(broken, SPLIT, strict=False)]
    with pytest.raises(UserError, match=r"(?s)2 of 4 cases.*_002: t2.*_004: t2"):
        store.write(target, "common", RECIPE, all_jobs, 1)
    assert [p.name for p in target.parent.iterdir()] == ["common"]
    assert (target / "index.csv").read_text() == "old"


def test_our_own_bugs_leave_nothing_either(jobs, tmp_path, monkeypatch):
    def bug(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(store, "prepare", bug)
    with pytest.raises(ZeroDivisionError):
        store.write(tmp_path / "common", "common", RECIPE, jobs, 1)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_removed(jobs, tmp_path):
    (tmp_path / "common.tmp").mkdir()
    (tmp_path / "common.tmp" / "rubbish.npy").write_text("x")
    store.write(tmp_path / "common", "common", RECIPE, jobs, 1)
    assert {p.name for p in (tmp_path / "common").iterdir()} == FILES
    assert [p.name for p in tmp_path.iterdir()] == ["common"]


def test_a_split_without_slices_is_refused(jobs, tmp_path):
    with pytest.raises(UserError, match="no slices are left for val and test"):
        store.write(tmp_path / "common", "common", RECIPE, [replace(j, split="train") for j in jobs], 1)


def test_voxels_that_are_no_cubes_of_whole_millimetres_are_refused(tmp_path):
    cohorts.write_case(tmp_path, "brats2020", "a", cohorts.volumes(), affine=np.diag([1.0, 1, 1.5, 1]))
    with pytest.raises(UserError, match=r"1 x 1 x 1\.5 mm"):
        scan.read_scan(case.find_cases(tmp_path)[0])


def test_npy_writer_counts_as_it_goes(tmp_path):
    parts = [np.random.default_rng(i).normal(size=(i, 3, 2)).astype(np.float32) for i in range(5)]
    with store.NpyWriter(tmp_path / "x.npy", (3, 2), np.float32) as writer:
        for part in parts:
            writer.append(part)
        with pytest.raises(ValueError, match="expected"):
            writer.append(np.zeros((1, 3, 2)))
    np.testing.assert_array_equal(np.load(tmp_path / "x.npy", mmap_mode="r"), np.concatenate(parts))


def test_the_picture_is_the_same_every_time(written, tmp_path):
    for name in ("a.png", "b.png"):
        montage.draw(Slices.open(written), tmp_path / name, "common")
    assert files.md5(tmp_path / "a.png") == files.md5(tmp_path / "b.png")
    assert (tmp_path / "a.png").stat().st_size > 5000


def test_rows_of_the_picture_are_spread_evenly():
    assert montage.spread(np.arange(10, 20), 4).tolist() == [11, 13, 16, 18]
    assert montage.spread(np.array([7]), 4).tolist() == [7]
    assert montage.spread(np.array([], np.int64), 4).tolist() == []
