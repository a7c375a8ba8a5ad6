"""The download stage: exit codes, what is listed, what is left out, and that nobody's folder is written to."""

import gzip
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

import cohorts
from gliomap.base import files, run
from gliomap.base.errors import UserError
from gliomap.data.case import find_cases, read_manifest
from gliomap.data.cohort import check_cohort, report
from stage_toys import stage_of

ROOT = Path(__file__).resolve().parents[1]
SHAPE = cohorts.SHAPE
download = stage_of("download")

PARAMS = {
    "data": "local", "scale": "smoke", "data_seed": 0,
    "cohort": {"on_bad_case": "fail", "limit": 0, "shape": list(SHAPE)},
    "phantom": {
        "subjects": 3, "healthy": 1, "voxel": 2, "knobs": {"oedema": 1, "cyst": 1, "wmh": 1, "snr": 1, "bias": 1},
    },
}  # fmt: skip


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with the smallest configuration, and three sound cases in raw/."""
    for folder in ("data", "scale"):
        (tmp_path / "conf" / folder).mkdir(parents=True)
    (tmp_path / "conf" / "scale" / "smoke.yaml").write_text("{}\n")
    set_root(tmp_path, "raw")
    set_params(tmp_path)
    cohorts.write_cohort(tmp_path / "raw", "brats2020", ["a", "b", "c"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    monkeypatch.delenv("GLIOMAP_WORK", raising=False)
    monkeypatch.setenv("GLIOMAP_WORKERS", "1")
    return tmp_path


def set_root(project, root):
    (project / "conf" / "data" / "local.yaml").write_text(f"kind: local\nroot: '{root}'\nsynapse: ''\n")


def set_params(project, **cohort):
    values = PARAMS | {"cohort": PARAMS["cohort"] | cohort}
    with (project / "params.yaml").open("w") as stream:
        YAML(typ="safe").dump(values, stream)


def listed(project):
    return list(read_manifest(project / "data" / "manifest.csv")["case"])


def test_a_sound_cohort_is_listed_and_reported(project):
    download.main([])
    assert listed(project) == ["a", "b", "c"]
    table = read_manifest(project / "data" / "manifest.csv")
    assert list(table["tumour"]) == ["1", "1", "1"]
    text = (project / "metrics" / "cohort.json").read_text()
    result = files.read_json(project / "metrics" / "cohort.json")
    assert result["cases"] == {"found": 3, "used": 3, "excluded": 0}
    assert result["patients"] == 3
    assert result["problems"] == []
    assert result["tumour_ml"]["min"] <= result["tumour_ml"]["median"] <= result["tumour_ml"]["max"]
    assert str(project) not in text


def test_the_outputs_are_the_same_bytes_every_time(project):
    download.main([])
    before = [(project / name).read_bytes() for name in ("data/manifest.csv", "metrics/cohort.json")]
    download.main([])
    assert before == [(project / name).read_bytes() for name in ("data/manifest.csv", "metrics/cohort.json")]


def break_two(project):
    """One case without a modality, one with a truncated file and an unknown label."""
    (project / "raw" / "a" / "a_t2.nii.gz").unlink()
    path = project / "raw" / "c" / "c_t1.nii.gz"
    path.write_bytes(path.read_bytes()[:200])
    content = cohorts.volumes()
    content["seg"][content["seg"] == 4] = 3
    cohorts.write(project / "raw" / "c" / "c_seg.nii.gz", content["seg"])


def test_bad_cases_stop_the_stage_with_all_problems_and_no_output(project):
    break_two(project)
    (project / "data").mkdir()
    (project / "data" / "manifest.csv").write_text("old\n")
    with pytest.raises(UserError) as error:
        download.main([])
    message = str(error.value)
    assert "2 of 3 cases cannot be used (3 problems" in message
    for part in ("a/a_t2.nii.gz: missing modality", "c/c_t1.nii.gz: cannot be read", "c/c_seg.nii.gz: unknown labels"):
        assert part in message
    assert "cohort.on_bad_case=skip" in message
    assert (project / "data" / "manifest.csv").read_text() == "old\n"
    assert not (project / "metrics").exists()
    assert len(files.read_json(project / "work" / "problems.json")) == 3


@pytest.mark.slow
def test_nothing_but_the_sentence_reaches_the_terminal(project):
    path = project / "raw" / "c" / "c_t1.nii.gz"
    path.write_bytes(gzip.compress(b"x" * 999))  # nibabel logs its own complaints about such a header
    done = stage(project)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    assert "sizeof_hdr" not in done.stderr + done.stdout


def test_skip_leaves_bad_cases_out_and_says_so(project, capsys):
    break_two(project)
    set_params(project, on_bad_case="skip")
    download.main([])
    assert listed(project) == ["b"]
    out = capsys.readouterr().out
    assert "left out: a: a/a_t2.nii.gz" in out
    assert "2 of 3 cases are left out" in out
    result = files.read_json(project / "metrics" / "cohort.json")
    assert result["cases"] == {"found": 3, "used": 1, "excluded": 2}
    assert result["errors"] == {"missing modality": 1, "cannot be read": 1, "unknown labels": 1}
    assert {p["case"] for p in result["problems"]} == {"a", "c"}


def test_skip_with_no_case_left_stops(project):
    set_params(project, on_bad_case="skip", shape=[9, 9, 9])
    with pytest.raises(UserError, match=r"3 of 3 cases cannot be used (.|\n)*no case is left"):
        download.main([])
    assert not (project / "data").exists()


def test_notes_exclude_nothing(project):
    content = cohorts.volumes(tumour=False)
    cohorts.write_case(project / "raw", "brats2020", "healthy", content)
    download.main([])
    assert listed(project) == ["a", "b", "c", "healthy"]
    assert list(read_manifest(project / "data" / "manifest.csv")["tumour"]) == ["1", "1", "1", "0"]
    result = files.read_json(project / "metrics" / "cohort.json")
    assert result["notes"] == {"no tumour": 1}
    assert result["without_tumour"] == 1


def test_limit_takes_the_first_cases_by_id(project):
    set_params(project, limit=2)
    download.main([])
    assert listed(project) == ["a", "b"]


def test_a_long_list_is_cut_in_the_message_and_whole_in_the_file(project):
    set_params(project, shape=[9, 9, 9])
    with pytest.raises(UserError, match=r"\(15 problems(.|\n)*and 5 more"):
        download.main([])
    assert len(files.read_json(project / "work" / "problems.json")) == 15


STOPS = {  # what the user has done -> words of the sentence
    "empty root": (lambda p: set_root(p, ""), "-S data=local -S conf/data/local.yaml:root=/path/to/cases"),
    "missing folder": (lambda p: set_root(p, "nowhere"), "nowhere: no such folder, expected one with cases named"),
    "empty folder": (lambda p: ((p / "x").mkdir(), set_root(p, "x")), "x: no cases found, expected files named"),
    "a file as root": (lambda p: set_root(p, "params.yaml"), "params.yaml: no such folder"),
    "two numbers": (lambda p: set_params(p, shape=[240, 240]), "cohort.shape has 2 numbers, expected 3"),
    "bad choice": (lambda p: set_params(p, on_bad_case="warn"), "cohort.on_bad_case is 'warn', expected one of fail, skip"),
    "bad limit": (lambda p: set_params(p, limit=-1), "cohort.limit is -1, expected at least 0"),
}


@pytest.mark.parametrize("kind", STOPS)
def test_what_the_user_can_mend_is_one_sentence_and_exit_code_2(project, kind, capsys, monkeypatch):
    action, words = STOPS[kind]
    action(project)
    monkeypatch.setattr(sys, "argv", ["download.py"])
    with pytest.raises(SystemExit) as stop:
        run.main(download.main)
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert said.count("\n") == 1
    assert not (project / "data").exists()


def stage(project):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", "GLIOMAP_WORKERS": "2"}
    command = [sys.executable, str(ROOT / "stages" / "download.py")]
    return subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_as_a_program_it_checks_in_parallel_and_gives_the_same_answer(project):
    cohorts.write_cohort(project / "raw", "brats2020", ["d", "e"], seed=1)
    download.main([])
    alone = (project / "data" / "manifest.csv").read_bytes(), (project / "metrics" / "cohort.json").read_bytes()
    done = stage(project)
    assert done.returncode == 0, done.stderr
    assert "5 cases of 5 patients in data/manifest.csv" in done.stdout
    assert alone == ((project / "data" / "manifest.csv").read_bytes(), (project / "metrics" / "cohort.json").read_bytes())


def snapshot(folder):
    return {p.relative_to(folder).as_posix(): (p.stat().st_mtime_ns, p.stat().st_size) for p in [folder, *folder.rglob("*")]}


def test_the_folder_of_the_user_is_only_read(project):
    raw = project / "raw"
    before = snapshot(raw)
    for path in [*raw.rglob("*"), raw]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        download.main([])
        assert snapshot(raw) == before
    finally:
        for path in [raw, *raw.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


def findings(folder):
    return check_cohort(find_cases(folder), SHAPE, 1.0, 1)


def errors(folder):
    return {(p.case, p.file.rpartition("/")[2], p.what) for f in findings(folder) for p in f.problems}


def test_the_same_patient_under_two_names_is_found(project):
    content = cohorts.volumes(seed=0)  # the content of case a
    cohorts.write_case(project / "raw", "brats2023", "z", content)
    endings = cohorts.NAMES["brats2023"]
    assert errors(project / "raw") == {
        ("z", f"z{endings[m]}.nii.gz", "same image twice") for m in ("t1", "t1ce", "t2", "flair")
    }


def test_one_modality_under_two_names_is_found_whatever_its_data_type(project):
    content = cohorts.volumes(seed=77)
    cohorts.write_case(project / "raw", "brats2020", "z", content | {"t1ce": content["t1"].astype("float32")})
    assert errors(project / "raw") == {("z", "z_t1ce.nii.gz", "same image twice")}


def test_an_id_used_twice_is_found_and_the_first_is_kept(project):
    cohorts.write_case(project / "raw" / "LGG", "brats2020", "a", cohorts.volumes(seed=77))
    result = findings(project / "raw")
    assert [(f.case.id, f.usable) for f in result] == [("a", True), ("a", False), ("b", True), ("c", True)]
    assert [(p.what, p.found) for p in result[1].problems] == [
        ("case id used twice", "a again, first at LGG/a/a_t1.nii.gz"),
    ]  # fmt: skip


def test_visits_of_one_patient_count_once(tmp_path):
    cohorts.write_cohort(tmp_path, "brats2023", ["BraTS-GLI-00001-000", "BraTS-GLI-00001-001", "BraTS-GLI-00002-000"])
    result = report(findings(tmp_path), "local")
    assert result["patients"] == 2
    assert result["cases"]["used"] == 3
    assert result["layouts"] == {"brats2023": 3}
