"""Train both ensembles and make the maps as the pipeline calls it, on a toy slice store at scale=smoke."""

import json
import shutil

import numpy as np
import pytest
from ruamel.yaml import YAML

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.balance import balanced
from gliomap.data.features import Features
from gliomap.data.slices import Slices
from stage_toys import ROOT, SHAPE, SIZE, main, write_store

pytestmark = pytest.mark.slow
AUTOENCODER = {
    "members": 3, "equal_steps": False, "net": {"latent": 4, "hidden": 16, "widths": [4, 8]},
    "train": {
        "steps": 6, "batch": 2, "lr": 0.001, "weight_decay": 0.0, "warmup": 0, "decay_from": 1.0, "clip": 0.0, "ema": 0.0,
        "log_every": 2, "save_every": 2, "val_slices": 4,
    },
}  # fmt: skip


def write_params(folder, **changes) -> None:
    value = YAML(typ="safe", pure=True).load((ROOT / "params.yaml").read_text())
    value |= {"scale": "smoke", "autoencoder": {**AUTOENCODER, **changes}}
    with (folder / "params.yaml").open("w") as stream:
        YAML().dump(value, stream)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with both ensembles trained; then it is the working folder. There are no masks at all."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "conf", folder / "conf")
    write_params(folder)
    store = folder / "data" / "slices" / "common"
    write_store(store, np.random.default_rng(0).uniform(-0.4, 0.9, SHAPE))
    for split in ("train", "val"):  # every third slice is healthy, so that the balance leaves some out
        labels = files.read_csv(store / f"labels_{split}.csv")
        files.write_csv(store / f"labels_{split}.csv", labels.assign(tumour=1 - labels["tumour"]))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        for population in ("mixture", "healthy"):
            main("train_ae", population)
        yield folder


@pytest.fixture(scope="module")
def maps(project):
    """models/discrepancy, made where no label is left."""
    store = project / "data" / "slices" / "common"
    for split in ("train", "val"):
        (store / f"labels_{split}.csv").rename(project / f"labels_{split}.csv")
    main("discrepancy")
    for split in ("train", "val"):
        (project / f"labels_{split}.csv").rename(store / f"labels_{split}.csv")
    return project / "models" / "discrepancy"


@pytest.mark.parametrize(("population", "steps"), [("mixture", 6), ("healthy", 3)])
def test_training_writes_weights_curves_and_cost(project, population, steps):
    folder = project / "models" / "ae" / population
    assert {p.name for p in folder.iterdir()} == {"raw.safetensors", "ema.safetensors", "model.json", "log.csv"}
    cost = json.loads((project / f"metrics/cost/train-ae-{population}.json").read_text())
    meta = json.loads((folder / "model.json").read_text())
    assert cost["steps"] == steps == meta["train"]["steps"]  # equal epochs
    assert cost["parameters"] == sum(meta["parameters"].values())
    assert meta["train"]["batch"] == 6  # two slices a member
    assert meta["modalities"] == ["t1", "t1ce", "t2", "flair"]
    assert (meta["networks"]["population"], meta["networks"]["members"]) == (population, 3)
    log = files.read_csv(folder / "log.csv")
    names = [f"{loss}_member{j}" for loss in ("loss", "val_loss") for j in range(3)]
    assert list(log) == ["step", "lr", *names]
    assert np.isfinite(log[names].to_numpy()).all()


def test_the_mixture_is_balanced(project):
    rows = balanced(Slices.open(project / "data/slices/common"), "train", 0)
    assert len(rows) == 16  # of 24: 8 healthy and 8 of 16
    assert len(set(rows) & set(range(0, 24, 3))) == 8


def test_equal_steps_are_an_option(project):
    write_params(project, equal_steps=True)
    main("train_ae", "healthy")
    assert json.loads((project / "metrics/cost/train-ae-healthy.json").read_text())["steps"] == 6
    write_params(project)
    main("train_ae", "healthy")
    assert json.loads((project / "metrics/cost/train-ae-healthy.json").read_text())["steps"] == 3


def test_maps_of_all_slices_need_no_label_and_no_mask(project, maps):
    meta = json.loads((maps / "discrepancy.json").read_text())
    assert {name: meta[name] for name in ("recipe", "size", "n", "members")} == {
        "recipe": "common", "size": SIZE, "n": 36, "members": 3,
    }  # fmt: skip
    assert json.loads((project / "metrics/cost/discrepancy.json").read_text())["slices"] == 36
    slices = Slices.open(project / "data/slices/common")
    for kind in ("both", "shuffled", "untrained", "residual"):
        found = Features.open(maps, slices, kind, "raw", 0).of(range(36))
        assert (found >= 0).all()
        assert found.std() > 0


def test_a_member_too_many_for_the_batch_is_one_sentence(project):
    write_params(project, train={**AUTOENCODER["train"], "batch": 1})
    with pytest.raises(UserError, match="expected 2 or more; raise it"):
        main("train_ae", "mixture")
    write_params(project)
