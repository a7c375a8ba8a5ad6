"""What every stage shares: the guard, exit codes, progress lines, files that appear whole or not at all."""

import json
import subprocess
import sys

import numpy as np
import pytest

from gliomap.base import files, run
from gliomap.base.errors import UserError


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "conf" / "scale").mkdir(parents=True)
    (tmp_path / "conf" / "scale" / "smoke.yaml").write_text("{}\n")
    (tmp_path / "params.yaml").write_text("data: phantom\nscale: smoke\nseed: 1\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_stage_refuses_to_end_when_a_value_changed_meanwhile(project):
    with pytest.raises(UserError, match="changed while this stage ran: seed"), run.stage({"seed": int}) as p:
        assert p["seed"] == 1
        (project / "params.yaml").write_text("data: phantom\nscale: smoke\nseed: 2\n")


def test_stage_ends_quietly_when_another_section_changed(project):
    with run.stage({"seed": int}):
        (project / "params.yaml").write_text("data: phantom\nscale: smoke\nseed: 1\nother: 5\n")


def test_user_error_is_one_sentence_and_exit_code_2(monkeypatch, capsys):
    def fail(_: list[str]) -> None:
        raise UserError("x.nii.gz: found 3 dimensions, expected 4; export it again")

    monkeypatch.setattr(sys, "argv", ["stage.py"])
    with pytest.raises(SystemExit) as stop:
        run.main(fail)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: x.nii.gz: found 3 dimensions, expected 4; export it again\n"


def test_our_own_bugs_keep_their_traceback(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["stage.py"])
    with pytest.raises(ZeroDivisionError):
        run.main(lambda argv: 1 / 0)


def test_progress_yields_everything_and_reports_a_rate(capsys):
    assert list(run.progress([1, 2, 3], label="cases", unit="case")) == [1, 2, 3]
    assert "cases: 3/3 case" in capsys.readouterr().out


def test_work_is_below_the_users_repository_also_in_a_temporary_copy(tmp_path, monkeypatch):
    monkeypatch.delenv("GLIOMAP_WORK", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "main"))
    assert run.work() == tmp_path / "main" / "work"


def test_a_failing_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "x.json"
    files.write_json(path, {"a": 1})
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert files.read_json(path) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_npz_bytes_depend_on_the_arrays_only(tmp_path):
    a, b = np.arange(6.0).reshape(2, 3), np.ones(4, np.uint8)
    files.write_npz(tmp_path / "1.npz", a=a, b=b)
    files.write_npz(tmp_path / "2.npz", b=b, a=a)
    assert files.md5(tmp_path / "1.npz") == files.md5(tmp_path / "2.npz")
    back = files.read_npz(tmp_path / "1.npz")
    np.testing.assert_array_equal(back["a"], a)


def test_json_has_no_nan(tmp_path):
    files.write_json(tmp_path / "x.json", {"a": float("nan"), "b": np.float32(0.5), "c": [np.int64(2)]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": 0.5, "c": [2]}


@pytest.mark.parametrize(("text", "words"), [("{", "not valid JSON"), (None, "no such file")])
def test_unreadable_json_is_a_user_error(tmp_path, text, words):
    if text is not None:
        (tmp_path / "x.json").write_text(text)
    with pytest.raises(UserError, match=words):
        files.read_json(tmp_path / "x.json")


def test_a_damaged_npz_is_a_user_error(tmp_path):
    files.write_npz(tmp_path / "x.npz", a=np.zeros(100))
    (tmp_path / "x.npz").write_bytes((tmp_path / "x.npz").read_bytes()[:60])
    with pytest.raises(UserError, match="not a readable npz"):
        files.read_npz(tmp_path / "x.npz")


def test_the_base_does_not_import_torch():
    code = "import sys, gliomap.base.run, gliomap.base.params, gliomap.base.files; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
