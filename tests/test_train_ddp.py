"""Several processes on the CPU give the loss curve of one."""

import numpy as np
import pandas as pd
import pytest

from gliomap.base.errors import UserError
from gliomap.engine import device
from test_train_resume import script
from train_toys import train_one


@pytest.mark.slow
def test_two_processes_follow_one(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("GLIOMAP_WORK", "")
    monkeypatch.setenv("FRESH", "")
    spec = {"dropout": 0.0, "steps": 20}
    train_one({**spec, "root": str(tmp_path / "1")})
    done = script({**spec, "root": str(tmp_path / "2"), "devices": 2})
    assert done.returncode == 0, done.stderr
    assert "Starting with 2 processes" in done.stderr
    for line in ("toy/a: 20 steps of 4", "toy/a: step 20", "toy/a: 20/20 steps"):
        assert done.stdout.count(line) == 1  # one process speaks
    one, two = (pd.read_csv(tmp_path / name / "models" / "toy" / "a" / "log.csv") for name in "12")
    assert list(one.columns) == list(two.columns)
    for column in one.columns:
        assert np.allclose(one[column], two[column], rtol=1e-4), column


def test_batch_must_divide_among_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("GLIOMAP_WORK", "")
    monkeypatch.setenv("FRESH", "")

    class Two:
        world_size = 2

    monkeypatch.setattr(device, "launch", lambda precision, devices: Two())
    with pytest.raises(UserError, match="batch is 3, expected a multiple of the 2 devices"):
        train_one({"root": str(tmp_path), "batch": 3})
