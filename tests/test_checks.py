"""Every kind of broken input ends in one sentence: file, found, expected, what to do."""

import gzip

import nibabel as nib
import numpy as np
import pytest

import cohorts
from gliomap.data.case import find_cases
from gliomap.data.checks import Expected, check_case, examine

SHAPE = cohorts.SHAPE
EXPECTED = Expected(shape=SHAPE)


def change(role, function):
    """A breaker that replaces one file's array by function(array)."""

    def breaker(folder, content):
        cohorts.write(folder / f"x_{role}.nii.gz", function(content[role]))

    return breaker


def header(role, affine):
    def breaker(folder, content):
        cohorts.write(folder / f"x_{role}.nii.gz", content[role], affine)

    return breaker


def replace_bytes(role, function):
    def breaker(folder, content):
        path = folder / f"x_{role}.nii.gz"
        path.write_bytes(function(path.read_bytes()))

    return breaker


def remove(role):
    return lambda folder, content: (folder / f"x_{role}.nii.gz").unlink()


def second_file(folder, content):
    cohorts.write(folder / "x_t1.nii", content["t1"])


def zscored(image):
    return ((image - image.mean()) / image.std()).astype(np.float32)


def spoiled(value):
    def function(image):
        image = image.astype(np.float32)
        image[12, 10, 8] = value
        return image

    return function


def brain_only(function):
    """function applied to the brain voxels, background left at 0."""
    return lambda image: np.where(image > 0, function(image.astype(np.float32)), 0).astype(np.float32)


def one_label(label):
    def function(seg):
        seg = seg.copy()
        seg[seg == 4] = label
        return seg

    return function


def shift(affine_mm):
    affine = cohorts.AFFINE.copy()
    affine[0, 3] += affine_mm
    return affine


def counting(array):
    return np.arange(array.size, dtype=np.int32).reshape(array.shape)


def left_half(image):
    image = image.copy()
    image[12:] = 0
    return image


def cut_inside_the_gzip(packed):
    return gzip.compress(gzip.decompress(packed)[:2000])


def silent_damage(folder, content):
    """One wrong byte in the voxels of a gzip file that unpacks all the same: only its checksum tells."""
    path = folder / "x_t1ce.nii.gz"
    packed = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), 0))
    packed[9000] ^= 1
    path.write_bytes(packed)


def ball(shape, radius):
    return cohorts._ellipsoid(shape, (0.5, 0.5, 0.5), radius).astype(np.uint8)


def without_third_axis(packed):
    """The header's third row (srow_z, bytes 312 to 327) set to 0: the third axis points nowhere."""
    raw = gzip.decompress(packed)
    return gzip.compress(raw[:312] + bytes(16) + raw[328:])


CASES = {  # breaker, file, what, found, expected (parts of the sentence)
    "missing modality": (remove("t2"), "x_t2", "missing modality", "none", "a file"),
    "missing mask": (remove("seg"), "x_seg", "missing mask", "none", "a file"),
    "two files": (second_file, "x_t1.nii", "second file for one image", "another with the same role", "one"),
    "truncated gzip": (replace_bytes("t1", lambda b: b[: len(b) // 2]), "x_t1", "cannot be read", "", "a whole NIfTI"),
    "empty file": (replace_bytes("flair", lambda b: b""), "x_flair", "cannot be read", "mpty", "a whole NIfTI"),
    "damaged bytes": (replace_bytes("t1ce", lambda b: b[:300] + bytes(64) + b[364:]), "x_t1ce", "cannot be read", "", "a"),
    "one wrong byte": (silent_damage, "x_t1ce", "cannot be read", "CRC", "a whole NIfTI"),
    "not gzip": (replace_bytes("t2", lambda b: b"<html>not found</html>"), "x_t2", "cannot be read", "", "a whole NIfTI"),
    "not NIfTI": (replace_bytes("seg", lambda b: gzip.compress(b"x" * 999)), "x_seg", "cannot be read", "", "a whole NIfTI"),
    "too short": (replace_bytes("t1", cut_inside_the_gzip), "x_t1", "cannot be read", "got 1648 bytes", "a whole NIfTI"),
    "4-D": (change("t1", lambda a: np.stack([a, a], -1)), "x_t1", "wrong dimensions", "4 (24x20x16x2)", "expected 3"),
    "2-D": (change("seg", lambda a: a[:, :, 8]), "x_seg", "wrong dimensions", "2 (24x20)", "expected 3"),
    "cropped": (change("t2", lambda a: a[:, :, 1:]), "x_t2", "wrong shape", "24x20x15", "24x20x16"),
    "other grid": (header("flair", shift(3)), "x_flair", "affine differs within the case", "3;", "-1 0 0 0;"),
    "2 mm": (header("t1ce", cohorts.AFFINE @ np.diag([2, 2, 2, 1])), "x_t1ce", "wrong voxel size", "2x2x2 mm", "1 mm"),
    "singular affine": (replace_bytes("t2", without_third_axis), "x_t2", "affine without orientation", "; 0 0 0", "three"),
    "NaN": (change("t1", spoiled(np.nan)), "x_t1", "NaN or infinite values", "1 voxels", "finite numbers"),
    "infinite": (change("t2", spoiled(np.inf)), "x_t2", "NaN or infinite values", "1 voxels", "finite numbers"),
    "NaN in mask": (change("seg", spoiled(np.nan)), "x_seg", "NaN or infinite values", "1 voxels", "finite numbers"),
    "complex": (change("t1", lambda a: a.astype(np.complex64)), "x_t1", "not a grey-value image", "complex64", "real"),
    "all zero": (change("flair", np.zeros_like), "x_flair", "empty image", "0 everywhere", "a brain on background 0"),
    "constant": (change("t1", lambda a: np.full_like(a, 7)), "x_t1", "empty image", "7 everywhere", "a brain"),
    "z-scored": (change("t2", zscored), "x_t2", "background is not 0", "in a corner", "exactly 0"),
    "shifted by min": (change("t1", lambda a: a + 5), "x_t1", "background is not 0", "5 in a corner", "exactly 0"),
    "z-scored brain": (change("t1ce", brain_only(lambda a: a - 400.5)), "x_t1ce", "negative values", "lowest", "before"),
    "skull": (change("t1", lambda a: np.pad(a[1:-1, 1:-1, 1:-1] + 9, 1)), "x_t1", "implausible share", "%", "5% to 45%"),
    "hardly any brain": (change("t2", lambda a: a * ball(a.shape, 0.12)), "x_t2", "implausible share", "0.7%", "5%"),
    "mask as image": (change("flair", lambda a: (a > 0) * 1.0 + (a > 400)), "x_flair", "too few grey values", "2", "16"),
    "half a brain": (change("t1", left_half), "x_t1", "brain differs", "0.6", "0.9"),
    "label 3": (change("seg", one_label(3)), "x_seg", "unknown labels", "3", "only 0, 1, 2, 4 (brats2020 naming)"),
    "label 255": (change("seg", one_label(255)), "x_seg", "unknown labels", "255", "only 0, 1, 2, 4"),
    "negative label": (change("seg", lambda a: -a.astype(np.int16)), "x_seg", "unknown labels", "-4, -2, -1", "only 0"),
    "image as mask": (change("seg", counting), "x_seg", "unknown labels", "3, 5, 6, 7, 8 ...", "only 0, 1, 2, 4"),
    "interpolated mask": (change("seg", lambda a: a * np.float32(0.7)), "x_seg", "labels are not whole", "1.4", "labels"),
    "flipped mask": (change("seg", lambda a: np.roll(a, 10, 2)), "x_seg", "tumour outside the brain", "%", "at most 0.1%"),
    "brain mask as mask": (change("seg", lambda a: ball(a.shape, 0.37)), "x_seg", "implausibly large tumour", "100%", "50%"),
}  # fmt: skip


def write_broken(root, breaker):
    content = cohorts.volumes(seed=3)
    cohorts.write_case(root, "brats2020", "x", content)
    breaker(root / "x", content)
    return find_cases(root)[0]


@pytest.mark.parametrize("kind", CASES)
def test_broken_input_is_named_with_found_expected_and_remedy(tmp_path, kind):
    breaker, file, what, found, expected = CASES[kind]
    problems = check_case(write_broken(tmp_path, breaker), SHAPE)
    own = [p for p in problems if p.what.startswith(what)]
    assert len(own) == 1, problems
    problem = own[0]
    assert problem.severity == "error"
    assert file in problem.file
    assert found in problem.found
    sentence = str(problem)
    assert sentence.startswith(f"x/{file}")
    assert problem.found
    assert f"found {problem.found}, expected " in sentence
    assert expected in sentence
    assert len(problem.remedy.split()) >= 3
    assert "\n" not in sentence
    assert str(tmp_path) not in sentence
    assert {p.file for p in problems if p.severity == "error"} == {problem.file}


@pytest.mark.parametrize("layout", ["brats2020", "brats2023", "msd"])
def test_a_sound_case_has_no_problem(tmp_path, layout):
    cohorts.write_cohort(tmp_path, layout, 1)
    finding = examine(find_cases(tmp_path)[0], EXPECTED)
    assert finding.problems == ()
    assert finding.usable
    assert len(set(finding.digests.values())) == 4


def test_tumour_volume_is_counted_in_millilitres(tmp_path):
    content = cohorts.volumes()
    cohorts.write_case(tmp_path, "brats2020", "x", content, affine=cohorts.AFFINE @ np.diag([2, 2, 2, 1]))
    finding = examine(find_cases(tmp_path)[0], Expected(shape=SHAPE, voxel=2))
    assert finding.problems == ()
    assert finding.tumour_ml == pytest.approx((content["seg"] > 0).sum() * 0.008)


def test_a_cavity_is_not_tumour(tmp_path):
    content = cohorts.volumes()
    whole = (content["seg"] > 0).sum()
    content["seg"][content["seg"] == 1] = 3  # canonical: cavity
    cohorts.write_case(tmp_path, "brats2023", "x", content)
    finding = examine(find_cases(tmp_path)[0], EXPECTED)
    assert finding.problems == ()
    assert 0 < finding.tumour_ml * 1000 == (np.isin(content["seg"], (2, 4))).sum() < whole


NOTES = {
    "healthy": (change("seg", np.zeros_like), "no tumour"),
    "a few negatives": (change("t1", lambda a: np.where(counting(a) == 3848, -5, a)), "a few negative values"),
    "a few tumour voxels outside": (change("seg", lambda a: np.where(counting(a) == 1, 2, a)), "tumour outside the brain"),
}


@pytest.mark.parametrize("kind", NOTES)
def test_harmless_oddities_are_notes_and_exclude_nothing(tmp_path, kind):
    breaker, what = NOTES[kind]
    finding = examine(write_broken(tmp_path, breaker), EXPECTED)
    assert [(p.severity, p.what.startswith(what)) for p in finding.problems] == [("note", True)]
    assert finding.usable


def test_other_axes_are_noted_and_read_right(tmp_path):
    cohorts.write_case(tmp_path, "brats2020", "x", cohorts.volumes(), affine=np.eye(4))
    finding = examine(find_cases(tmp_path)[0], EXPECTED)
    assert finding.usable
    assert {(p.what, p.found) for p in finding.problems} == {("axes other than BraTS's", "RAS")}


def test_all_problems_of_a_case_are_collected(tmp_path):
    content = cohorts.volumes()
    cohorts.write_case(tmp_path, "brats2020", "x", content)
    remove("seg")(tmp_path / "x", content)
    change("t1", np.zeros_like)(tmp_path / "x", content)
    change("t2", spoiled(np.nan))(tmp_path / "x", content)
    change("flair", lambda a: a[1:] - 600)(tmp_path / "x", content)
    what = [p.what for p in check_case(find_cases(tmp_path)[0], SHAPE)]
    assert sorted(what) == [
        "NaN or infinite values", "background is not 0", "empty image", "missing mask", "wrong shape",
    ]  # fmt: skip


MSD = {
    "three channels": ("imagesTr", lambda a: a[..., :3], "wrong dimensions", "4 (24x20x16x3)"),
    "one volume": ("imagesTr", lambda a: a[..., 0], "wrong dimensions", "3 (24x20x16)"),
    "no labels": ("labelsTr", None, "missing mask", "none"),
    "no images": ("imagesTr", None, "missing modality", "none"),
    "canonical label": ("labelsTr", lambda a: np.where(a == 3, 4, a), "unknown labels", "4"),
}


@pytest.mark.parametrize("kind", MSD)
def test_broken_four_dimensional_cases_are_named(tmp_path, kind):
    folder, function, what, found = MSD[kind]
    cohorts.write_cohort(tmp_path, "msd", 1)
    path = tmp_path / folder / "BRATS_001.nii.gz"
    if function is None:
        path.unlink()
    else:
        cohorts.write(path, function(np.asanyarray(nib.load(path).dataobj)))
    problems = check_case(find_cases(tmp_path)[0], SHAPE)
    assert {(p.file.partition("#")[0], p.what, p.found) for p in problems} == {(f"{folder}/BRATS_001.nii.gz", what, found)}


def test_label_3_under_the_old_names_says_how_to_mend_it(tmp_path):
    problem = check_case(write_broken(tmp_path, change("seg", one_label(3))), SHAPE)[0]
    assert "relabel 3 to 4, or use the file names of BraTS 2023" in problem.remedy
