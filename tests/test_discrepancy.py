"""The maps: the paper's equations written out, their identities (DDMD spec 11.4), the files and their access."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from torch import nn

from discrepancy_toys import MODALITIES, ToyStore
from gliomap.base import files
from gliomap.base.errors import UserError
from gliomap.data.features import Features
from gliomap.engine import weights
from gliomap.methods import discrepancy
from gliomap.methods.discrepancy import Modules, compute, inter_by_modality, intra_by_modality, intra_map, quantile
from gliomap.methods.ensemble import EnsembleConfig, build
from gliomap.nets.autoencoder import AutoencoderShape, configure

CPU, SIZE = torch.device("cpu"), 8
NET = configure(AutoencoderShape(latent=3, hidden=12, widths=(4, 6)), 4, SIZE)
STORE = ToyStore.make({}, size=SIZE)


class Shift(nn.Module):
    """Reconstructs a slice with an error that is known."""

    def __init__(self, value: float | list[float]):
        super().__init__()
        self.value = torch.tensor(value).reshape(-1, 1, 1)

    def forward(self, x):
        return x + self.value


def members(population: str, moved: float = 0.3, seed: int = 0) -> dict[str, nn.Module]:
    """Three members, away from where they started."""
    nets = build(EnsembleConfig(NET, 3, population, seed))
    for j, net in enumerate(nets.values()):
        for parameter in net.parameters():
            parameter.data += moved * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(j))
        net.eval()
    return nets


def modules(mixture: dict[str, nn.Module], healthy: dict[str, nn.Module]) -> Modules:
    return Modules(list(mixture.values()), list(healthy.values()))


def images(count: int = 3) -> torch.Tensor:
    return torch.from_numpy(STORE.read(range(count), MODALITIES))


# -- the equations


def test_maps_are_the_papers_equations():
    """Eq. 11 to 13 as loops over members, modalities and pixels, in numpy."""
    trained = modules(members("mixture"), members("healthy"))
    with torch.no_grad():
        maps, scores = compute(images(2), trained, trained)
        b1, b2 = (b.double().numpy() for b in trained.reconstruct(images(2)))
    members_, slices, channels, height, width = b1.shape
    assert (members_, slices, channels) == (3, 2, 4)
    for i in range(slices):
        x, y = np.zeros((height, width)), np.zeros((height, width))
        for c in range(channels):
            mu1, mu2 = sum(b1[j, i, c] for j in range(3)) / 3, sum(b2[j, i, c] for j in range(3)) / 3
            x += np.abs(mu1 - mu2) / channels
            y += sum((b2[j, i, c] - mu2) ** 2 for j in range(3)) / (3 * channels)
            assert scores[i, 2 + c] == pytest.approx(np.abs(mu1 - mu2).mean(), rel=1e-5)
            deviation = np.sqrt(sum((b2[j, i, c] - mu2) ** 2 for j in range(3)) / 3)
            assert scores[i, 6 + c] == pytest.approx(deviation.mean(), rel=1e-5)
        assert np.allclose(maps["inter"][i], x, rtol=1e-4, atol=1e-6)
        assert np.allclose(maps["intra"][i], np.sqrt(y), rtol=1e-4, atol=1e-6)
        assert scores[i, :2].tolist() == pytest.approx([x.mean(), np.sqrt(y).mean()], rel=1e-5)
    residual = np.abs(images(2).numpy() - b2.mean(0)).mean(1)
    assert np.allclose(maps["residual"], residual, rtol=1e-4, atol=1e-6)


def test_known_shifts_give_known_maps():
    """mu1 - mu2 = 1 - (-2) = 3 in one modality and 1 in the others; variance of -2 +- 0.6 about its mean: 0.24."""
    mixture = [Shift([1.0, 0.0, 0.0, 0.0])] * 3
    healthy = [Shift([value, -1.0, -1.0, -1.0]) for value in (-2.6, -2.0, -1.4)]
    trained = Modules(mixture, healthy)
    maps, scores = compute(images(), trained, Modules(mixture, mixture))
    assert torch.allclose(maps["inter"], torch.tensor((3 + 1 + 1 + 1) / 4))
    assert torch.allclose(maps["intra"], torch.tensor((0.24 / 4) ** 0.5))
    assert torch.allclose(maps["residual"], torch.tensor((2 + 1 + 1 + 1) / 4))
    assert not maps["untrained"].any()
    expected = [1.5, 0.06**0.5, 3, 1, 1, 1, 0.24**0.5, 0, 0, 0]
    assert torch.allclose(scores, torch.tensor(expected, dtype=torch.float64), atol=1e-6)


def test_inter_is_zero_for_equal_modules_and_intra_for_equal_members():
    nets = members("healthy")
    with torch.no_grad():
        same = compute(images(), modules(nets, nets), modules(members("mixture"), nets))[0]
        clones = Modules(list(members("mixture").values()), [nets["member0"]] * 3)
        flat = compute(images(), clones, clones)[0]
    assert not same["inter"].any()
    assert (same["intra"] > 0).any()
    assert flat["intra"].abs().max() < 1e-6
    assert (flat["inter"] > 0).any()
    assert (same["untrained"] > 0).any()


def test_maps_are_not_negative_and_whole_follows_from_modalities():
    b1, b2 = torch.randn(2, 3, 5, 4, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    inter, intra = inter_by_modality(b1, b2), intra_by_modality(b2)
    assert (inter >= 0).all()
    assert (intra >= 0).all()
    assert torch.allclose(intra, b2.std(0, unbiased=True) / 1.5**0.5)  # 1/L, not 1/(L-1)
    y = intra_map(intra)
    assert torch.allclose(y.square(), intra.square().mean(1))
    assert (y >= intra.mean(1) - 1e-6).all()  # the mean is inside the root


@pytest.mark.parametrize("share", [0.0, 0.3, 0.5, 0.995, 1.0])
def test_quantile_of_bit_patterns_is_numpys(share):
    values = np.abs(np.random.default_rng(1).normal(size=501)).astype(np.float16)
    histogram = np.bincount(values.view(np.uint16), minlength=1 << 16)
    expected = np.quantile(values.astype(np.float64), share, method="inverted_cdf")
    assert quantile(histogram, share) == (expected if share else 0)
    assert quantile(np.zeros(1 << 16, np.int64), share) == 0


# -- the files


def save(folder, population: str, **changes) -> None:
    config = EnsembleConfig(NET, 3, population, 0)
    states = {name: net.state_dict() for name, net in members(population).items()}
    meta = {"method": "ae", "networks": asdict(config)} | changes
    weights.save(folder / population, states, states, meta)


@pytest.fixture
def models(tmp_path):
    for population in ("mixture", "healthy"):
        save(tmp_path / "ae", population)
    return tmp_path


@pytest.fixture
def written(models):
    folder = models / "discrepancy"
    discrepancy.write(folder, STORE, discrepancy.load(models / "ae", STORE, CPU), CPU)
    return folder


def test_files_hold_the_maps_and_scores_of_every_slice(written):
    trained, untrained = (modules(members("mixture", moved), members("healthy", moved)) for moved in (0.3, 0.0))
    discrepancy.calibrate(untrained, STORE, CPU)
    expected, scores = compute(images(16), trained, untrained)
    names = {"inter.npy", "intra.npy", "residual.npy", "untrained.npy", "scores.csv", "discrepancy.json"}
    assert {path.name for path in written.iterdir()} == names
    for name, values in expected.items():
        found = np.load(written / f"{name}.npy")
        assert found.dtype == np.float16
        assert np.allclose(found, values.detach(), rtol=1e-3, atol=1e-6), name
        assert found.any()
    frame = files.read_csv(written / "scores.csv")
    whole = ["inter", "intra", *(f"{score}_{m}" for score in ("inter", "intra") for m in MODALITIES)]
    assert list(frame) == ["row", *whole]
    assert frame["row"].tolist() == list(range(16))
    assert np.allclose(frame[whole], scores.detach(), rtol=1e-5)
    assert np.allclose(frame["inter"], frame[[f"inter_{m}" for m in MODALITIES]].mean(1), rtol=1e-6)


def test_scales_are_quantiles_over_the_training_slices_alone(written):
    meta = json.loads((written / "discrepancy.json").read_text())
    assert {name: meta[name] for name in ("recipe", "size", "n", "members")} == {
        "recipe": "common", "size": SIZE, "n": 16, "members": 3,
    }  # fmt: skip
    assert set(meta["scale"]) == {"inter", "intra", "residual", "untrained"}
    for name, value in meta["scale"].items():
        maps = np.load(written / f"{name}.npy")[STORE.rows("train")].astype(np.float64)
        assert value == pytest.approx(np.quantile(maps, 0.995, method="inverted_cdf"), rel=1e-7)


def test_what_is_written_is_what_trainings_read(written):
    found = Features.open(written, STORE, "both", "dataset", 0).of([3, 12])
    assert found.shape == (2, 2, SIZE, SIZE)
    assert 0 < found.max() <= 1


def test_the_bytes_and_the_maps_do_not_depend_on_the_run_or_the_chunk(models, written, monkeypatch):
    before = {path.name: path.read_bytes() for path in written.iterdir()}
    again = models / "again"
    discrepancy.write(again, STORE, discrepancy.load(models / "ae", STORE, CPU), CPU)
    assert {path.name: path.read_bytes() for path in again.iterdir()} == before
    loaded = discrepancy.load(models / "ae", STORE, CPU)
    monkeypatch.setattr(discrepancy, "CHUNK", 5)
    discrepancy.write(again, STORE, loaded, CPU)
    for name in discrepancy.MAPS:
        assert np.allclose(np.load(again / f"{name}.npy"), np.load(written / f"{name}.npy"), rtol=2e-3, atol=1e-6)


def test_a_failure_leaves_no_half_written_map(models, monkeypatch):
    monkeypatch.setattr(discrepancy, "CHUNK", 5)
    calls = []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise RuntimeError("disk")
        return compute(*arguments)

    monkeypatch.setattr(discrepancy, "compute", failing)
    with pytest.raises(RuntimeError, match="disk"):
        discrepancy.write(models / "out", STORE, discrepancy.load(models / "ae", STORE, CPU), CPU)
    assert not list((models / "out").iterdir())


def test_loaded_ensembles_are_the_trained_ones_and_those_they_started_from(models):
    trained, untrained = discrepancy.load(models / "ae", STORE, CPU)
    for population in ("mixture", "healthy"):
        ours = zip(getattr(trained, population), members(population).values(), strict=True)
        assert all(torch.equal(a(images()), b(images())) for a, b in ours)
        first = zip(getattr(untrained, population), members(population, 0).values(), strict=True)
        assert all(torch.equal(p, q) for a, b in first for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_untrained_networks_get_the_statistics_of_training_slices_and_nothing_else(monkeypatch):
    """Their first norm then sees mean 0 and variance 1 over the training slices; validation and test do not enter."""
    monkeypatch.setattr(discrepancy, "CHUNK", 5)
    untrained = modules(members("mixture", 0), members("healthy", 0))
    before = compute(images(16), untrained, untrained)[0]["untrained"]
    discrepancy.calibrate(untrained, STORE, CPU)
    for net in [*untrained.mixture, *untrained.healthy]:
        assert not any(layer.training for layer in net)
        normed = net[1]((net[0](images(10)) - net[1].bias.reshape(-1, 1, 1)) / net[1].weight.reshape(-1, 1, 1))
        assert torch.allclose(normed.mean((0, 2, 3)), torch.zeros(4), atol=1e-3)
        assert torch.allclose(normed.var((0, 2, 3)), torch.ones(4), atol=0.02)
    after = compute(images(16), untrained, untrained)[0]["untrained"]
    assert after.std(0).mean() / after.mean() > 3 * before.std(0).mean() / before.mean()  # says more of the slice
    other = ToyStore.make({}, size=SIZE)
    other.images[10:] = 0
    again = modules(members("mixture", 0), members("healthy", 0))
    discrepancy.calibrate(again, other, CPU)
    assert torch.equal(compute(images(16), again, again)[0]["untrained"], after)


def test_ensembles_that_do_not_fit_are_one_sentence(models):
    with pytest.raises(UserError, match=r"mixture.model\.json: trained on slices of 8 px, found slices of 16 px"):
        discrepancy.load(models / "ae", ToyStore.make({}, size=16), CPU)
    save(models / "ae", "healthy", method="cfg")
    with pytest.raises(UserError, match=r"weights of 'cfg', expected 'ae'"):
        discrepancy.load(models / "ae", STORE, CPU)
    (models / "ae" / "healthy" / "model.json").unlink()
    with pytest.raises(UserError, match=r"healthy.model\.json: no such file"):
        discrepancy.load(models / "ae", STORE, CPU)
