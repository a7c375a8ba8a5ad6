"""Train VAE, f-AnoGAN and the networks of FLAIR alone as the pipeline calls it, on a toy slice store at scale=smoke."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.slices import Slices
from gliomap.diffusion.noise import Noise
from gliomap.engine.contract import Batch
from gliomap.methods import reconstruction
from stage_toys import ROOT, SHAPE, SIZE, main, write_store

pytestmark = pytest.mark.slow
MODELS = {"vae/all": 3, "fanogan/gan": 2, "fanogan/encoder": 3, "guided/flair": 3, "classifier/flair": 3}
NET = {"width": 4, "most": 8, "bottleneck_px": 8, "latent": 4, "dropout": 0.1}
TRAIN = {
    "steps": 3, "batch": 2, "lr": 0.001, "weight_decay": 0.0, "warmup": 0, "decay_from": 1.0, "clip": 0.0, "ema": 0.0,
    "log_every": 1, "save_every": 3, "val_slices": 2,
}  # fmt: skip
OWN = {
    "vae": {"net": NET, "train": TRAIN},
    "fanogan": {
        "net": NET, "losses": {"critic_steps": 2, "penalty": 10.0, "features": 1.0}, "train": {**TRAIN, "steps": 2},
        "encoder": TRAIN,
    },
}  # fmt: skip


def write_params(folder: Path, **changes) -> None:
    text = (ROOT / "params.yaml").read_text().replace("scale: laptop", "scale: smoke").replace("steps: auto", "steps: 3")
    with (folder / "params.yaml").open("w") as stream:
        YAML().dump(YAML(typ="safe", pure=True).load(text) | OWN | changes, stream)


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A project folder with all trained; then it is the working folder. There are no masks and no test labels at all."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "conf", folder / "conf")
    write_params(folder)
    write_store(folder / "data" / "slices" / "common", np.random.default_rng(0).uniform(-0.4, 0.9, SHAPE))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GLIOMAP_WORK", str(folder / "work"))
        main("train_reconstruction", "vae", "fanogan")
        main("train_baselines", "guided_flair", "classifier_flair")
        yield folder


@pytest.mark.parametrize("name", MODELS)
def test_training_writes_weights_curves_and_cost(project, name):
    folder = project / "models" / name
    assert {p.name for p in folder.iterdir()} == {"raw.safetensors", "ema.safetensors", "model.json", "log.csv"}
    cost = json.loads((project / f"metrics/cost/train-{name.replace('/', '-')}.json").read_text())
    meta = json.loads((folder / "model.json").read_text())
    log = files.read_csv(folder / "log.csv")
    assert cost["steps"] == MODELS[name]
    assert np.isfinite(log.to_numpy()).all()
    assert any(column.startswith("val_loss") for column in log)
    assert meta["modalities"] == (["flair"] if "flair" in name else ["t1", "t1ce", "t2", "flair"])


def test_batches_of_the_critic_and_what_the_encoder_depends_on(project):
    gan, encoder = (json.loads((project / f"models/fanogan/{name}/model.json").read_text()) for name in ("gan", "encoder"))
    assert (gan["train"]["batch"], encoder["train"]["batch"]) == (4, 2)
    assert encoder["values"]["gan"] == files.md5(project / "models/fanogan/gan/raw.safetensors")
    assert set(gan["values"]) == {"seed", "fanogan.net", "fanogan.losses"}
    log = files.read_csv(project / "models/fanogan/gan/log.csv")
    assert list(log) == ["step", "lr", "loss_critic", "loss_generator", "val_loss_critic", "val_loss_generator"]


def test_networks_of_one_modality_have_one_channel_and_the_others_sizes(project):
    guided, classifier = (
        json.loads((project / f"models/{name}/flair/model.json").read_text()) for name in ("guided", "classifier")
    )
    assert (guided["networks"]["net"]["in_channels"], guided["networks"]["net"]["out_channels"]) == (1, 2)
    assert (classifier["networks"]["net"]["in_channels"], classifier["networks"]["net"]["out_channels"]) == (1, 2)
    assert guided["networks"]["net"]["classes"] == 2


@pytest.mark.parametrize("pair", ["vae/all", "fanogan/all"])
def test_trained_methods_score(project, pair):
    slices = Slices.open(project / "data/slices/common")
    scorer = reconstruction.scorer({}, project / "models", slices, torch.device("cpu"), pair)
    rows = slices.rows("test")
    x, brain = (torch.from_numpy(part).float() for part in (slices.read(rows, scorer.modalities), slices.brain_of(rows)))
    scores = scorer.score(Batch(torch.from_numpy(rows), x, brain, 0), Noise(0))
    assert scores.extra["residual"].shape == (len(rows), 4, SIZE, SIZE)
    assert (scores.map[brain > 0] > 0).float().mean() > 0.9


def test_training_again_gives_the_same_bytes(project):
    before = {name: files.md5(project / "models" / name / "raw.safetensors") for name in MODELS}
    shutil.rmtree(project / "work")
    main("train_reconstruction", "fanogan", "vae")
    assert {name: files.md5(project / "models" / name / "raw.safetensors") for name in MODELS} == before


def test_a_batch_too_small_or_a_wrong_bottleneck_is_one_sentence(project):
    write_params(project, vae={"net": {**NET, "bottleneck_px": 24}, "train": TRAIN})
    with pytest.raises(UserError, match="bottleneck_px is 24 for slices of 32 px"):
        main("train_reconstruction", "vae")
    write_params(project)
