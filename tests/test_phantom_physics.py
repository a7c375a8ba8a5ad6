"""Signal equations of the phantom against closed forms and limits; protocol draws."""

import numpy as np
import pytest

from gliomap.data.phantom.physics import (
    SNR,
    TISSUES,
    Flair,
    Mprage,
    SpinEcho,
    SpoiledGradientEcho,
    draw_protocol,
)
from gliomap.data.phantom.settings import MODALITIES, Knobs

EVEN = Knobs(1.0, 1.0, 1.0, 1.0, 1.0)
LONG = 1e3  # s, as good as infinite


@pytest.mark.parametrize("sequence", [
    SpinEcho(tr=LONG, te=0.0), Mprage(tr=LONG, ti=LONG, te=0.0), Flair(tr=LONG, ti=LONG, te=0.0),
    SpoiledGradientEcho(tr=LONG, te=0.0, flip=np.pi / 2),
])  # fmt: skip
def test_full_recovery_and_no_echo_time_leave_the_proton_density(sequence):
    assert sequence.signal(1.2, 13.0, .7) == pytest.approx(.7, rel=1e-9)


@pytest.mark.parametrize("sequence", [
    SpinEcho(tr=.6, te=.012), Mprage(tr=2.1, ti=1.2, te=.003), Flair(tr=9.0, ti=2.5, te=.12),
    SpoiledGradientEcho(tr=.02, te=.004, flip=.4),
])  # fmt: skip
def test_signal_is_proportional_to_density_and_works_on_arrays(sequence):
    rates = np.array([.5, 1.0, 1.5])
    np.testing.assert_allclose(sequence.signal(rates, 12.0, .8), .8 * sequence.signal(rates, 12.0, 1.0))


@pytest.mark.parametrize(("sequence", "rate"), [
    (SpinEcho(tr=LONG, te=.1), 10.0), (Flair(tr=LONG, ti=LONG, te=.1), 10.0),
    (Mprage(tr=LONG, ti=LONG, te=.1), 14.0), (SpoiledGradientEcho(tr=LONG, te=.1, flip=np.pi / 2), 14.0),
])  # fmt: skip
def test_transverse_decay_follows_r2_and_faster_for_gradient_echoes(sequence, rate):
    assert sequence.signal(1.0, 10.0, 1.0) == pytest.approx(np.exp(-.1 * rate), rel=1e-9)


def test_spin_echo_recovers_63_percent_after_one_t1_beyond_the_train():
    assert SpinEcho(tr=1.15, te=0.0, train=.15).signal(1.0, 1.0, 1.0) == pytest.approx(1 - np.exp(-1))


def test_flair_nulls_water_at_its_null_point():
    rate, te = 1 / 4.2, .12
    ideal = Flair(tr=LONG, ti=np.log(2) * 4.2, te=te, efficiency=1.0)
    assert ideal.signal(rate, .5, 1.0) == pytest.approx(0.0, abs=1e-12)
    finite = Flair(tr=9.0, ti=4.2 * np.log(2 / (1 + np.exp(-(9.0 - .25) / 4.2))), te=te, efficiency=1.0)
    assert finite.signal(rate, .5, 1.0) == pytest.approx(0.0, abs=1e-12)


def test_mprage_nulls_at_its_null_point():
    null = np.log(2 / (1 + np.exp(-2.0)))
    assert Mprage(tr=2.0, ti=null, te=0.0, efficiency=1.0).signal(1.0, 1.0, 1.0) == pytest.approx(0.0, abs=1e-12)


def test_spoiled_gradient_echo_is_brightest_at_the_ernst_angle():
    ernst = np.arccos(np.exp(-.02))
    best = SpoiledGradientEcho(tr=.02, te=0.0, flip=ernst).signal(1.0, 1.0, 1.0)
    assert best == pytest.approx(np.tan(ernst / 2))
    for flip in (.9 * ernst, 1.1 * ernst):
        assert SpoiledGradientEcho(tr=.02, te=0.0, flip=flip).signal(1.0, 1.0, 1.0) < best


@pytest.mark.parametrize("field", [3.0, 1.5])
def test_contrast_order_of_healthy_tissue(field):
    def signal(sequence, name):
        tissue = TISSUES[field][name]
        return sequence.signal(1e3 / tissue.t1, 1e3 / tissue.t2, tissue.density)

    t1, t2, flair = SpinEcho(tr=.6, te=.012), SpinEcho(tr=5.0, te=.09, train=.15), Flair(tr=9.0, ti=2.45, te=.12)
    assert signal(t1, "white") > signal(t1, "cortex") > signal(t1, "csf")
    assert signal(t2, "white") < signal(t2, "cortex") < signal(t2, "csf")
    assert signal(flair, "csf") < .5 * signal(flair, "white")


def test_protocols_stay_in_range_and_follow_the_knobs():
    worse = Knobs(1.0, 1.0, 1.0, .5, 3.0)
    for index in range(50):
        protocol = draw_protocol(np.random.default_rng(index), EVEN)
        noisy = draw_protocol(np.random.default_rng(index), worse)
        assert tuple(protocol.series) == MODALITIES
        for modality, series in protocol.series.items():
            assert SNR[modality][0] <= series.snr <= SNR[modality][1]
            assert 1.0 <= series.thickness <= (5.0 if series.axis == 2 else 3.0)
            assert (series.transfer > 0) == (modality in ("t2", "flair"))
            assert noisy.series[modality].snr == pytest.approx(.5 * series.snr)
            assert noisy.series[modality].bias == pytest.approx(3 * series.bias)
