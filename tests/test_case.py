"""Namings: what is found, what it is called, and which label means what."""

import gzip
import os

import nibabel as nib
import numpy as np
import pytest

import cohorts
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data import case as cases

LAYOUTS = ("brats2020", "brats2023", "msd")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_cases_survive_the_way_through_the_manifest(tmp_path, layout):
    ids = cohorts.write_cohort(tmp_path / "raw", layout, 3)
    found = cases.find_cases(tmp_path / "raw")
    assert [c.id for c in found] == ids
    assert {c.layout for c in found} == {layout}
    files.write_csv(tmp_path / "manifest.csv", cases.to_manifest(found))
    table = cases.read_manifest(tmp_path / "manifest.csv")
    assert tuple(table.columns) == cases.COLUMNS
    assert str(tmp_path) not in (tmp_path / "manifest.csv").read_text()
    assert cases.from_manifest(table, tmp_path / "raw") == found


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_naming_gives_the_same_volumes_and_labels(tmp_path, layout):
    content = cohorts.volumes(seed=5)
    cohorts.write_case(tmp_path, layout, "x", content)
    case = cases.find_cases(tmp_path)[0]
    whole = cases.read_all(case)
    for modality in cases.MODALITIES:
        np.testing.assert_array_equal(cases.read(case, modality), content[modality])
        np.testing.assert_array_equal(whole[modality], content[modality])
    np.testing.assert_array_equal(cases.read_mask(case), content["seg"])
    assert set(np.unique(content["seg"])) == {0, 1, 2, 4}


@pytest.mark.parametrize(
    ("layout", "stored", "canonical"),
    [
        ("brats2020", [0, 1, 2, 4], [0, 1, 2, 4]),
        ("brats2023", [0, 1, 2, 3, 4], [0, 1, 2, 4, 3]),  # 3 enhances; 4 is the cavity of 2024
        ("msd", [0, 1, 2, 3], [0, 2, 1, 4]),  # 1 oedema, 2 non-enhancing, 3 enhancing
    ],
)
def test_stored_labels_become_canonical(tmp_path, layout, stored, canonical):
    cohorts.write_case(tmp_path, layout, "x", cohorts.volumes())
    case = cases.find_cases(tmp_path)[0]
    cohorts.write(tmp_path / case.seg, np.array(stored, np.float32).reshape(-1, 1, 1))
    mask = cases.read_mask(case)
    assert mask.dtype == np.uint8
    assert mask.ravel().tolist() == canonical
    tumour = [label in cases.WHOLE_TUMOUR for label in canonical]
    assert tumour == [label in (1, 2, 4) for label in canonical]


def test_a_label_of_another_naming_is_refused(tmp_path):
    cohorts.write_case(tmp_path, "brats2020", "x", cohorts.volumes())
    cohorts.write(tmp_path / "x" / "x_seg.nii.gz", np.full((2, 2, 2), 3, np.uint8))
    with pytest.raises(UserError, match=r"x_seg.nii.gz: holds the labels \[3\], expected only \[0, 1, 2, 4\]"):
        cases.read_mask(cases.find_cases(tmp_path)[0])


@pytest.mark.parametrize("below", ["", "HGG", "archive/training/LGG"])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_cases_are_found_at_any_depth_zipped_or_not(tmp_path, below, suffix):
    cohorts.write_case(tmp_path / below, "brats2020", "Brats18_CBICA_ZZZ_1", cohorts.volumes(), suffix)
    found = cases.find_cases(tmp_path)
    assert [c.id for c in found] == ["Brats18_CBICA_ZZZ_1"]
    assert found[0].all_files["t1"] == f"{below + '/' if below else ''}Brats18_CBICA_ZZZ_1/Brats18_CBICA_ZZZ_1_t1{suffix}"


def test_two_namings_in_one_folder_are_told_apart_by_their_endings(tmp_path):
    cohorts.write_cohort(tmp_path, "brats2023", ["A"])
    cohorts.write_cohort(tmp_path, "brats2020", ["B"])
    assert [(c.id, c.layout) for c in cases.find_cases(tmp_path)] == [("A", "brats2023"), ("B", "brats2020")]


def test_apple_leftovers_hidden_and_foreign_files_are_ignored(tmp_path):
    cohorts.write_cohort(tmp_path, "msd", 2)
    cohorts.write_cohort(tmp_path, "brats2020", 1)
    for name in ("imagesTr/._BRATS_001.nii.gz", "labelsTr/._BRATS_002.nii.gz", ".hidden/y/y_t1.nii.gz"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"no image")
    for name in ("dataset.json", "BraTS20_Training_001/notes.txt", "BraTS20_Training_001/atlas.nii.gz"):
        (tmp_path / name).write_text("")
    assert [c.id for c in cases.find_cases(tmp_path)] == ["BRATS_001", "BRATS_002", "BraTS20_Training_001"]


def test_unlabelled_validation_and_test_sets_are_passed_over_but_not_labelled_ones(tmp_path):
    for folder in ("Data/ValidationData", "Data/TrainingData"):
        cohorts.write_cohort(tmp_path / folder, "brats2020", 1)
    (tmp_path / "Data/ValidationData/BraTS20_Training_001/BraTS20_Training_001_seg.nii.gz").unlink()
    cohorts.write_cohort(tmp_path / "mine" / "validation", "brats2020", ["labelled"])
    cohorts.write(tmp_path / "Task01" / "imagesTs" / "BRATS_485.nii.gz", np.zeros((2, 2, 2, 4), np.int16))
    assert [c.seg for c in cases.find_cases(tmp_path)] == [
        "Data/TrainingData/BraTS20_Training_001/BraTS20_Training_001_seg.nii.gz",
        "mine/validation/labelled/labelled_seg.nii.gz",
    ]


def test_incomplete_cases_are_found_too(tmp_path):
    cohorts.write_cohort(tmp_path, "brats2020", 1)
    (tmp_path / "BraTS20_Training_001" / "BraTS20_Training_001_t2.nii.gz").unlink()
    case = cases.find_cases(tmp_path)[0]
    assert set(case.files) == {"t1", "t1ce", "flair"}
    with pytest.raises(UserError, match="case BraTS20_Training_001 has no t2 file"):
        cases.read(case, "t2")


def test_the_misnamed_mask_of_brats2020_is_recognised(tmp_path):
    cohorts.write_case(tmp_path, "brats2020", "BraTS20_Training_355", cohorts.volumes(), ".nii")
    folder = tmp_path / "BraTS20_Training_355"
    (folder / "BraTS20_Training_355_seg.nii").rename(folder / "W39_1998.09.19_Segm.nii")
    assert [c.seg for c in cases.find_cases(tmp_path)] == ["BraTS20_Training_355/W39_1998.09.19_Segm.nii"]


@pytest.mark.parametrize(
    ("case", "patient"),
    [
        ("BraTS-GLI-00123-001", "BraTS-GLI-00123"),
        ("BraTS-MET-00003-000", "BraTS-MET-00003"),
        ("BraTS2021_00123", "BraTS2021_00123"),
        ("Brats18_2013_99_1", "Brats18_2013_99_1"),
        ("BRATS_001", "BRATS_001"),
    ],
)
def test_visits_belong_to_one_patient(case, patient):
    assert cases.patient_of(case) == patient


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAR", "ILA"])
def test_volumes_come_with_the_axes_of_brats(tmp_path, axes):
    content = cohorts.volumes(seed=1)
    for role, ending in cohorts.NAMES["brats2020"].items():
        image = nib.Nifti1Image(content[role], cohorts.AFFINE)
        turn = nib.orientations.ornt_transform(
            nib.orientations.axcodes2ornt("LPS"), nib.orientations.axcodes2ornt(tuple(axes))
        )
        (tmp_path / "x").mkdir(exist_ok=True)
        nib.save(image.as_reoriented(turn), tmp_path / "x" / f"x{ending}.nii.gz")
    case = cases.find_cases(tmp_path)[0]
    np.testing.assert_array_equal(cases.read(case, "flair"), content["flair"])
    np.testing.assert_array_equal(cases.read_mask(case), content["seg"])


def test_scaled_and_double_images_are_read_as_float32(tmp_path):
    cohorts.write_case(tmp_path, "brats2020", "x", cohorts.volumes())
    cohorts.write(tmp_path / "x" / "x_t1.nii.gz", np.full((2, 2, 2), 0.1))
    volume = cases.read(cases.find_cases(tmp_path)[0], "t1")
    assert volume.dtype == np.float32
    np.testing.assert_allclose(volume, 0.1)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_2_is_read_as_well(tmp_path, suffix):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    nib.save(nib.Nifti2Image(array, cohorts.AFFINE), tmp_path / f"x_t1{suffix}")
    np.testing.assert_array_equal(cases.load(tmp_path, f"x_t1{suffix}").array, array)


def test_a_damaged_file_is_named_without_its_folder_in_the_reason(tmp_path):
    (tmp_path / "x_t1.nii.gz").write_bytes(gzip.compress(b"short"))
    with pytest.raises(cases.Unreadable) as error:
        cases.load(tmp_path, "x_t1.nii.gz")
    assert str(tmp_path) not in error.value.reason
    assert "x_t1.nii.gz: cannot be read" in str(error.value)


def test_ids_that_look_like_numbers_stay_texts(tmp_path):
    cohorts.write_cohort(tmp_path / "raw", "brats2020", ["007", "NA"])
    files.write_csv(tmp_path / "manifest.csv", cases.to_manifest(cases.find_cases(tmp_path / "raw")))
    table = cases.read_manifest(tmp_path / "manifest.csv")
    assert [c.id for c in cases.from_manifest(table, tmp_path / "raw")] == ["007", "NA"]


@pytest.mark.parametrize("change", ["gone", "resized"])
def test_files_that_changed_since_the_manifest_are_refused(tmp_path, change):
    cohorts.write_cohort(tmp_path, "brats2020", ["x"])
    table = cases.to_manifest(cases.find_cases(tmp_path))
    path = tmp_path / "x" / "x_t2.nii.gz"
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(UserError, match=r"case x.*dvc repro -f download"):
        cases.from_manifest(table, tmp_path)


def test_a_missing_folder_says_what_it_should_hold(tmp_path):
    with pytest.raises(UserError, match=r"raw: no such folder, expected one with cases named <id>_t1.nii.gz"):
        cases.find_cases(tmp_path / "raw")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed_is_a_user_error(tmp_path):
    cohorts.write_cohort(tmp_path, "brats2020", ["x"])
    (tmp_path / "x").chmod(0)
    with pytest.raises(UserError, match="cannot be listed"):
        cases.find_cases(tmp_path)
    (tmp_path / "x").chmod(0o755)
