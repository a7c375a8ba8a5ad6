"""Precision, threads and the number of processes follow from the machine and the environment."""

import pytest
import torch
from torch import nn

from gliomap.engine import device


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fma avx512_bf16", "bf16-mixed"), ("amx_bf16", "bf16-mixed"), ("fma avx512f", "32-true")],
)
def test_best_precision_on_a_cpu(monkeypatch, flags, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(device, "_cpu_flags", lambda: frozenset(flags.split()))
    assert device.resolve("best") == expected
    assert device.resolve("32-true") == "32-true"


@pytest.mark.parametrize(("has", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_best_precision_on_a_gpu(monkeypatch, has, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has)
    assert device.resolve("best") == expected


@pytest.mark.parametrize(("omp", "processes", "expected"), [("3", 2, 3), ("", 1, 8), ("", 3, 2), ("", 99, 1), ("0", 1, 1)])
def test_threads(monkeypatch, omp, processes, expected):
    monkeypatch.setenv("OMP_NUM_THREADS", omp)
    monkeypatch.setattr(device.os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    assert device.threads_for(processes) == expected


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, (3, 1, False)),
        ({"TORCHELASTIC_RUN_ID": "x", "LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8"}, (4, 2, True)),
        ({"SLURM_NTASKS": "6", "SLURM_NNODES": "3"}, (2, 3, True)),
        ({"SLURM_NTASKS": "1", "SLURM_NNODES": "1"}, (3, 1, False)),
        ({"SLURM_NTASKS": "6", "SLURM_JOB_NAME": "bash"}, (3, 1, False)),
    ],
)
def test_world(monkeypatch, environment, expected):
    for name in ("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_JOB_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert device._world(3, gpu=False) == expected


def test_all_devices_without_gpu_is_one_process():
    assert device._world("all", gpu=False) == (1, 1, False)


def test_launch_computes_repeatably(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    fabric = device.launch("bf16-mixed", 1)
    assert (fabric.device.type, fabric.world_size) == ("cpu", 1)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    with fabric.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def test_inference_net_is_frozen_and_channels_last():
    net = device.for_inference(nn.Sequential(nn.Conv2d(3, 4, 3), nn.Dropout(0.5)), torch.device("cpu"))
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert net[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_available_names_the_device(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "thread" in device.available()
    assert "bf16" in device.available()
