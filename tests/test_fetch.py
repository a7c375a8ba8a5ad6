"""Downloads against a server on this machine: resume, checksum, space, safe extraction, and what to do by hand."""

import hashlib
import http.server
import io
import sys
import tarfile
import threading
import types
import zipfile
from pathlib import Path
from typing import ClassVar

import pytest

from gliomap.base.errors import UserError
from gliomap.data import fetch

PAYLOAD = bytes(range(256)) * 4096  # 1 MiB


class Server(http.server.BaseHTTPRequestHandler):
    """Serves PAYLOAD with byte ranges; `cut` ends the first answer early, `ranges=False` ignores the Range header."""

    cut = 0
    ranges = True
    seen: ClassVar[list] = []

    def do_GET(self):
        header = self.headers.get("Range")
        Server.seen.append(header)
        start = int(header[6:-1]) if header and Server.ranges else 0
        if start >= len(PAYLOAD):
            self.send_error(416)
            return
        body = PAYLOAD[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if Server.cut:
            body, Server.cut = body[: Server.cut], 0
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def url():
    Server.cut, Server.ranges, Server.seen = 0, True, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/x.tar"
    server.shutdown()
    server.server_close()


SIZE, MD5 = len(PAYLOAD), hashlib.md5(PAYLOAD).hexdigest()


def archive(url, md5=MD5, size=SIZE):
    return fetch.Archive("x.tar", url, size, 10, md5, "http://example.org/page")


def test_downloads_whole_and_checks_the_sum(url, tmp_path):
    path = fetch.download(archive(url), tmp_path)
    assert path.read_bytes() == PAYLOAD
    assert fetch.download(archive(url), tmp_path) == path
    assert Server.seen == [None]  # the second call asked nobody


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_goes_on(url, tmp_path, ranges):
    Server.cut = 300_000
    with pytest.raises(UserError, match="a part that has arrived is kept"):
        fetch.download(archive(url), tmp_path)
    assert 0 < (tmp_path / "x.tar.part").stat().st_size < len(PAYLOAD)
    Server.ranges = ranges
    assert fetch.download(archive(url), tmp_path).read_bytes() == PAYLOAD
    assert Server.seen[1] == "bytes=300000-"


def test_a_part_that_is_already_whole_is_only_checked(url, tmp_path):
    (tmp_path / "x.tar.part").write_bytes(PAYLOAD)
    assert fetch.download(archive(url), tmp_path).read_bytes() == PAYLOAD


def test_a_wrong_sum_is_refused_and_moved_aside(url, tmp_path):
    with pytest.raises(UserError, match="expected 0000"):
        fetch.download(archive(url, md5="0000"), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tar.part.bad"]


def test_no_network_says_what_to_get_and_where_to_put_it(tmp_path):
    with pytest.raises(UserError) as error:
        fetch.download(archive("http://127.0.0.1:9/x.tar"), tmp_path)
    assert "http://example.org/page" in str(error.value)
    assert str(tmp_path / "x.tar") in str(error.value)


def test_too_little_space_is_said_before_a_byte_is_fetched(url, tmp_path):
    with pytest.raises(UserError, match="GiB are free"):
        fetch.download(archive(url, size=1 << 60), tmp_path)
    assert Server.seen == []


def tar_with(path: Path, *members: tuple[str, bytes | None]):
    with tarfile.open(path, "w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            if data is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
            else:
                info.size = len(data)
            tar.addfile(info, io.BytesIO(data or b""))
    return path


@pytest.mark.parametrize("name", ["../evil.nii", "/abs/evil.nii", "a/../../evil.nii", "C:\\evil.nii"])
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_member_outside_the_folder_is_refused_before_anything_is_written(tmp_path, name, kind):
    target = tmp_path / "out"
    target.mkdir()
    packed = tmp_path / f"a.{kind}"
    if kind == "tar":
        tar_with(packed, ("ok.nii", b"1"), (name, b"2"))
    else:
        with zipfile.ZipFile(packed, "w") as archive_:
            archive_.writestr("ok.nii", b"1")
            archive_.writestr(name, b"2")
    with pytest.raises(UserError, match="would be written outside the folder"):
        fetch.extract(packed, target, 1)
    assert list(target.iterdir()) == []


def test_links_are_refused(tmp_path):
    with pytest.raises(UserError, match="is a link or device"):
        fetch.extract(tar_with(tmp_path / "a.tar", ("link", None)), tmp_path, 1)


def test_extracts_files_and_leaves_macos_leftovers(tmp_path):
    fetch.extract(tar_with(tmp_path / "a.tar", ("T/x.nii", b"12"), ("T/._x.nii", b"no")), tmp_path / ".", 1)
    assert sorted(p.name for p in (tmp_path / "T").iterdir()) == ["x.nii"]


@pytest.mark.parametrize("name", ["a.tar", "a.zip"])
def test_a_truncated_archive_is_one_sentence(tmp_path, name):
    whole = tmp_path / "whole"
    if name.endswith("zip"):
        with zipfile.ZipFile(whole, "w") as packed:
            packed.writestr("x", PAYLOAD)
    else:
        tar_with(whole, ("x", PAYLOAD))
    (tmp_path / name).write_bytes(whole.read_bytes()[: len(PAYLOAD) // 2])
    with pytest.raises(UserError, match="not a whole"):
        fetch.extract(tmp_path / name, tmp_path / ".", 1)


def test_a_half_unpacked_own_fetch_is_not_taken_for_a_folder_filled_by_hand(tmp_path, monkeypatch):
    (tmp_path / "T").mkdir()
    (tmp_path / "T" / "x_t1.nii").write_bytes(b"half")
    packed = tar_with(tmp_path / "x.tar", ("T/x_t1.nii", b"whole"))
    whole = fetch.Archive("x.tar", "http://127.0.0.1:9/x", 1, 1, hashlib.md5(packed.read_bytes()).hexdigest(), "page")
    monkeypatch.setattr(fetch, "MSD", whole)
    fetch.fetch("msd", tmp_path)
    assert (tmp_path / "T" / "x_t1.nii").read_bytes() == b"whole"


def test_a_folder_filled_by_hand_is_used_as_it_is(tmp_path):
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / "case_t1.nii.gz").write_bytes(b"")
    assert fetch.fetch("brats2021", tmp_path) == tmp_path


@pytest.mark.parametrize(
    ("kind", "synapse", "module"), [("brats2020", "", "kaggle"), ("brats2021", "syn1", "synapseclient")]
)
def test_a_missing_client_says_what_to_install_and_what_to_do_by_hand(tmp_path, monkeypatch, kind, synapse, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError) as error:
        fetch.fetch(kind, tmp_path / "raw", synapse)
    assert "pip install" in str(error.value)
    assert str(tmp_path / "raw") in str(error.value)


def fake_kaggle(monkeypatch, authenticate, deliver):
    api = types.SimpleNamespace(authenticate=authenticate, dataset_download_files=deliver)
    extended = types.ModuleType("kaggle.api.kaggle_api_extended")
    extended.KaggleApi = lambda: api
    for name, module in (("kaggle", types.ModuleType("kaggle")), ("kaggle.api", types.ModuleType("kaggle.api")),
                         ("kaggle.api.kaggle_api_extended", extended)):  # fmt: skip
        monkeypatch.setitem(sys.modules, name, module)


def test_kaggle_without_credentials_says_where_they_belong(tmp_path, monkeypatch):
    def refuse():
        raise OSError("Could not find kaggle.json")

    fake_kaggle(monkeypatch, refuse, None)
    with pytest.raises(UserError, match=r"kaggle\.json or KAGGLE_USERNAME"):
        fetch.fetch("brats2020", tmp_path)


def test_kaggle_archive_is_unpacked_and_marked_complete(tmp_path, monkeypatch):
    def deliver(dataset, path, **_):
        assert dataset == "awsaf49/brats20-dataset-training-validation"
        with zipfile.ZipFile(Path(path) / "d.zip", "w") as packed:
            packed.writestr("BraTS20_Training_001/BraTS20_Training_001_t1.nii", b"x")

    fake_kaggle(monkeypatch, lambda: None, deliver)
    monkeypatch.setattr(fetch, "UNPACKED", {"brats2020": 10})
    assert fetch.fetch("brats2020", tmp_path) == tmp_path
    assert (tmp_path / "BraTS20_Training_001" / "BraTS20_Training_001_t1.nii").read_bytes() == b"x"
    fake_kaggle(monkeypatch, None, None)  # a second call needs no client
    assert fetch.fetch("brats2020", tmp_path) == tmp_path
