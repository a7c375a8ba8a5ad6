"""Residuals and the study of TSGM as the pipeline calls them, with untrained networks on a toy slice store."""

import dataclasses
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.case import MODALITIES
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine.device import launch
from gliomap.engine.inference import Infer, Setting, predict
from gliomap.methods.tsgm import scorer
from stage_toys import ROOT, SHAPE, SIZE, main, stage_of, write_store
from tsgm_toys import OWN, cut_cohort, write_models

pytestmark = pytest.mark.slow
STORE = "data/slices/common"
SINGLE = {"tsgm": "tsgm/single", "tsgm_onestep": "onestep/single", "cyclegan": "cyclegan/single",
          "regression": "regression/single"}  # fmt: skip
ROWS = {**SINGLE, "tsgm_flair": "tsgm/flair", "cyclegan_multi": "cyclegan/multi", "tsgm_multi": "tsgm/multi"}
P = {"tsgm.sampling": OWN, "cyclegan.weights": "raw"}
WORDS = [f"{key}=tsgm/{pair}" for key, pair in ROWS.items()]


def write_params(folder, **sampling) -> None:
    own = {**vars(OWN), "steps": 2, "samples": 2, "images": 7, **sampling}
    study = {"slices": 2, "snr": [0.05, 0.1, 0.2], "steps": 2, "levels": [1, 3]}
    infer = {"slice_step": 2, "batch": 3, "precision": "32-true"}
    values = {"scale": "smoke", "seed": 0, "infer": infer, "cyclegan": {"weights": "raw"}}
    values["tsgm"] = {"sampling": own, "study": study}
    (folder / "params.yaml").write_text(yaml.safe_dump(values))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with networks, slices and a cohort that has T1ce alone; it is the working folder."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "conf", folder / "conf")
    write_params(folder)
    write_store(folder / STORE, np.random.default_rng(0).uniform(-0.4, 0.9, SHAPE))
    labels, area = folder / STORE / "labels_val.csv", np.array([5, 0, 9, 9, 0, 1])
    files.write_csv(labels, files.read_csv(labels).assign(tumour_px=area, tumour=(area > 0) * 1))
    cut_cohort(folder / STORE, folder / "data/external/icts", "t1ce")
    write_models(folder / "models")
    (folder / STORE / "labels_train.csv").unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        main("residuals", "tsgm", *WORDS, "--external", "icts")
        yield folder


def found(population: str, row: str) -> dict[str, np.ndarray]:
    return files.read_npz(f"predictions/residuals/tsgm/{population}/{row}.npz")


@pytest.mark.parametrize("population", ["val", "test"])
@pytest.mark.parametrize("row", ROWS)
def test_residuals_are_those_of_the_slices(project, row, population):
    arrays = found(population, row)
    slices, names = Slices.open(STORE), tuple(arrays["modalities"])
    assert names == (("flair",) if row == "tsgm_flair" else MODALITIES)
    assert arrays["modalities"].dtype.kind == "U"
    assert arrays["rows"].tolist() == [r + (24 if population == "val" else 30) for r in (1, 3, 5)]
    shape = (3, len(names), SIZE, SIZE)
    assert arrays["residual"].shape == arrays["restored"].shape == shape
    assert {arrays[name].dtype for name in ("residual", "restored")} == {np.dtype(np.float16)}
    unit = (slices.read(arrays["rows"], names) + 1) / 2
    assert np.allclose(arrays["residual"], np.abs(unit - arrays["restored"]), atol=2e-3)
    assert arrays["residual"].max() > 0.05
    sampled = {"sd"} if ROWS[row].startswith("tsgm/") else set()
    assert set(arrays) == {"rows", "modalities", "residual", "restored"} | sampled


def test_a_row_whose_modalities_a_cohort_lacks_has_no_file_there(project):
    there = {path.stem for path in (project / "predictions/residuals/tsgm/icts").iterdir()}
    assert there == set(SINGLE)
    for row in SINGLE:
        arrays = found("icts", row)
        assert arrays["modalities"].tolist() == ["t1ce"]
        assert arrays["rows"].tolist() == [1, 3, 5, 7, 9, 11]


def test_a_modality_is_restored_the_same_way_in_every_cohort(project):
    """Rows 1 and 5 of the toy cohort are those of the main store: equal images, equal noise, equal networks."""
    rows, restored = np.array([1, 5]), []
    for store, modalities in ((STORE, MODALITIES), ("data/external/icts", ("t1ce",))):
        slices = Slices.open(store)
        one = scorer(P, project / "models", slices, torch.device("cpu"), "tsgm/single")
        assert one.modalities == modalities
        setting = Setting(slices, Noise(0), Infer(slice_step=1, batch=2, precision="32-true"), launch("32-true", 1))
        arrays, _, _ = predict(one, rows, setting, "test")
        restored.append(arrays["restored"][:, modalities.index("t1ce")].astype(float))
    assert np.allclose(*restored, atol=2e-3)


@pytest.mark.parametrize("row", ROWS)
def test_cost_counts_the_network_calls_of_val_and_test(project, row):
    cost = files.read_json(f"metrics/cost/infer-{row}.json")
    assert cost["slices"] == 6
    expected = {"tsgm": 24, "tsgm_onestep": 4, "cyclegan": 4, "regression": 4, "tsgm_flair": 6, "cyclegan_multi": 1,
                "tsgm_multi": 6}  # fmt: skip
    assert cost["evaluations_per_slice"] == expected[row]  # modalities x (2 N - 1) x K of Heun with N = 2, K = 2


def test_the_same_bytes_twice_whatever_the_batches(project):
    path = project / "predictions/residuals/tsgm/test/tsgm.npz"
    before = files.md5(path)
    main("residuals", "tsgm", "tsgm=tsgm/tsgm/single", "--external", "icts")
    assert files.md5(path) == before
    write_params(project, images=5)
    again = files.read_npz(path)
    main("residuals", "tsgm", "tsgm=tsgm/tsgm/single")
    write_params(project)
    assert np.allclose(files.read_npz(path)["restored"], again["restored"], atol=2e-3)


def test_a_file_of_before_goes_where_a_cohort_lacks_the_modalities(project):
    old = project / "predictions/residuals/tsgm/icts/tsgm_flair.npz"
    old.write_bytes(b"old")
    main("residuals", "tsgm", "tsgm_flair=tsgm/tsgm/flair", "--external", "icts")
    assert not old.exists()


@pytest.mark.parametrize("word", ["tsgm", "tsgm=tsgm", "=tsgm/tsgm/single", "tsgm=ts gm/tsgm/single"])
def test_a_row_without_module_or_pair_is_one_sentence(project, word):
    with pytest.raises(UserError, match="expected <row>=<module>/<pair>"):
        main("residuals", "tsgm", word)


def test_missing_networks_and_cohorts_are_one_sentence(project):
    with pytest.raises(UserError, match=r"models/vejp/t2/model\.json: no such file"):
        main("residuals", "tsgm", "tsgm_t2=tsgm/tsgm/t2")
    with pytest.raises(UserError, match=r"data/external/inhouse/index\.csv: no such file"):
        main("residuals", "tsgm", "tsgm=tsgm/tsgm/single", "--external", "inhouse")
    write_params(project, begin="image", begin_sigma=400.0)
    with pytest.raises(UserError, match=r"begin_sigma is 400.*change it"):
        main("residuals", "tsgm", "tsgm=tsgm/tsgm/single")
    write_params(project)


def test_the_study_sweeps_the_papers_sampler(project):
    main("study_tsgm")
    study = files.read_npz("predictions/tsgm/study.npz")
    assert study["rows"].tolist() == [26]  # rows 26 and 27 have equal tumours, of one patient
    assert study["modalities"].tolist() == list(MODALITIES)
    assert study["snr"].tolist() == [0.05, 0.1, 0.2]
    assert study["levels"].tolist() == [1, 3]
    shape = (1, 4, SIZE, SIZE)
    assert study["images"].shape == shape
    assert study["snr_residual"].shape == (3, *shape)
    assert study["levels_residual"].shape == study["levels_restored"].shape == (2, *shape)
    assert study["runs_restored"].shape == (3, *shape)
    difference = np.abs(study["images"].astype(float) - study["levels_restored"])
    assert np.allclose(study["levels_residual"], difference, atol=2e-3)
    runs = study["runs_restored"].astype(float)
    assert np.abs(runs[0] - runs[1]).mean() > 1e-3
    assert not np.array_equal(study["snr_residual"][0], study["snr_residual"][2])
    kinds = {name: array.dtype for name, array in study.items() if array.ndim > 3}
    assert set(kinds.values()) == {np.dtype(np.float16)}


def test_the_studys_first_run_is_a_restoration_of_one_sample(project):
    write_params(project, samples=1)
    main("study_tsgm")
    slices, own = Slices.open(STORE), dataclasses.replace(OWN, steps=2)
    one = scorer(P | {"tsgm.sampling": own}, project / "models", slices, torch.device("cpu"), "tsgm/single")
    setting = Setting(slices, Noise(0), Infer(slice_step=1, batch=1, precision="32-true"), launch("32-true", 1))
    arrays, _, _ = predict(one, np.array([26]), setting, "test")
    runs = files.read_npz("predictions/tsgm/study.npz")["runs_restored"].astype(float)
    assert np.allclose(runs[0], arrays["restored"], atol=2e-3)
    assert len(runs) == 3  # whatever tsgm.sampling.samples is
    write_params(project)


def test_one_slice_of_a_patient_with_the_largest_tumours_first(tmp_path):
    write_store(tmp_path / "store", np.zeros(SHAPE))
    index = files.read_csv(tmp_path / "store/index.csv")
    index["split"], index["patient"] = "val", np.repeat(["a", "b", "c"], 12)
    files.write_csv(tmp_path / "store/index.csv", index)
    area = np.zeros(36, int)
    area[[3, 5, 14, 16, 30]] = 10, 20, 50, 50, 0
    labels = pd.DataFrame({"row": range(36), "tumour_px": area, "tumour": (area > 0) * 1})
    files.write_csv(tmp_path / "store/labels_val.csv", labels)
    picked = stage_of("study_tsgm").picked
    assert picked(Slices.open(tmp_path / "store"), 5).tolist() == [14, 5]
    assert picked(Slices.open(tmp_path / "store"), 1).tolist() == [14]
    files.write_csv(tmp_path / "store/labels_val.csv", labels.assign(tumour=0))
    with pytest.raises(UserError, match=r"labels_val\.csv: found no slice with tumour"):
        picked(Slices.open(tmp_path / "store"), 5)
