"""Public and registered archives: download with resume and checksum, check free space before, extract safely.

Nothing here is needed for the phantom or for a local folder. Whatever cannot be had (no network, no credentials) ends in one
sentence that says exactly what to get and where to put it.
"""

from __future__ import annotations

import hashlib
import http
import http.client
import shutil
import tarfile
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from gliomap.base import run
from gliomap.base.errors import UserError

BLOCK = 1 << 20  # bytes a read
RANGE_BEYOND_END = http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE  # the part already has everything
TIMEOUT = 60  # seconds without a byte
SAFE = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # Python 3.11.0 to 3.11.3 have none; see _extract_tar


@dataclass(frozen=True)
class Archive:
    """One archive: where it comes from and what it must be. `size`, `unpacked`: about, in bytes, for the space check."""

    name: str
    url: str
    size: int
    unpacked: int
    md5: str
    page: str


GIB = 1 << 30
MSD = Archive(
    name="Task01_BrainTumour.tar",
    url="https://msd-for-monai.s3-us-west-2.amazonaws.com/Task01_BrainTumour.tar",
    size=7 * GIB,
    unpacked=8 * GIB,
    md5="240a19d752f0d9e9101544901065d872",  # as published in MONAI's DecathlonDataset
    page="http://medicaldecathlon.com",
)
KAGGLE = {"brats2020": "awsaf49/brats20-dataset-training-validation", "brats2021": "dschettler8845/brats-2021-task1"}
KAGGLE_LOGIN = "~/.kaggle/kaggle.json or KAGGLE_USERNAME and KAGGLE_KEY"
UNPACKED = {"brats2020": 8 * GIB, "brats2021": 14 * GIB}


def fetch(kind: str, root: Path, synapse_id: str = "") -> Path:
    """The folder with the cases of `kind` (msd, brats2020, brats2021) below `root`, fetched if it is not there yet.

    A complete earlier fetch is used as it is; an interrupted one goes on where it stopped.
    Raises UserError with what to get and where to put it.
    """
    done = root / ".complete"
    if done.is_file() and done.read_text(encoding="utf-8").strip() == kind:
        return root
    if _has_cases(root):
        run.log(f"{kind}: using the folder {root} as it is")
        return root
    root.mkdir(parents=True, exist_ok=True)
    if kind == "msd":
        extract(download(MSD, root), root, MSD.unpacked)
    elif synapse_id:
        _extract_all(root, _synapse(kind, synapse_id, root), UNPACKED[kind])
    else:
        _extract_all(root, _kaggle(kind, root), UNPACKED[kind])
    done.write_text(kind + "\n", encoding="utf-8")
    return root


def _has_cases(root: Path) -> bool:
    """Whether somebody has put cases here by hand: NIfTI files up to three levels down, and no archive of an own fetch."""
    if not root.is_dir() or any(True for pattern in ("*.part", "*.tar", "*.zip") for _ in root.glob(pattern)):
        return False
    return any(True for pattern in ("*/*.nii*", "*/*/*.nii*", "*/*/*/*.nii*") for _ in root.glob(pattern))


def download(archive: Archive, folder: Path) -> Path:
    """The archive's file below `folder`, whole and with the right md5; an earlier part is continued, not fetched again.

    Raises UserError: no network, too little space, wrong checksum.
    """
    target = folder / archive.name
    if target.is_file():
        _verify(target, archive)
        return target
    part = target.with_suffix(target.suffix + ".part")
    have = part.stat().st_size if part.is_file() else 0
    require_space(folder, max(archive.size - have, 0), archive.name)
    try:
        _append(archive, part, have)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        if getattr(error, "code", None) != RANGE_BEYOND_END:
            raise UserError(_by_hand(archive, target, error)) from error
    _verify(part, archive)
    part.replace(target)
    return target


def _append(archive: Archive, part: Path, have: int) -> None:
    request = urllib.request.Request(archive.url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
        resumed = have and answer.status == http.HTTPStatus.PARTIAL_CONTENT  # else the server sends everything again
        length = int(answer.headers.get("Content-Length") or 0)
        arrived = 0
        with part.open("ab" if resumed else "wb") as stream:
            total = length // BLOCK + 1 if length else None
            for block in run.progress(_blocks(answer), total=total, label=f"fetch {archive.name}", unit="MiB"):
                arrived += stream.write(block)
    if length and arrived < length:
        raise OSError(f"the connection closed after {arrived} of {length} bytes")


def _blocks(stream: object) -> Iterator[bytes]:
    while block := stream.read(BLOCK):  # type: ignore[attr-defined]
        yield block


def _verify(path: Path, archive: Archive) -> None:
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as stream:
        for block in _blocks(stream):
            digest.update(block)
    if digest.hexdigest() != archive.md5:
        bad = path.with_name(path.name + ".bad")
        path.replace(bad)
        raise UserError(
            f"{path}: md5 is {digest.hexdigest()} ({bad.stat().st_size} bytes), expected {archive.md5}; it was moved to "
            f"{bad.name}, run `dvc repro download` to fetch it again, or get it from {archive.page}"
        )


def _by_hand(archive: Archive, target: Path, error: Exception) -> str:
    reason = getattr(error, "reason", error)
    return (
        f"{archive.url}: cannot be fetched ({reason}); a part that has arrived is kept, run `dvc repro download` again to "
        f"go on, or get {archive.name} ({archive.size / GIB:.1f} GiB) from {archive.page} and put it at {target}"
    )


def require_space(folder: Path, needed: int, what: str) -> None:
    """UserError unless the disk of `folder` has `needed` bytes and a tenth more."""
    free = shutil.disk_usage(folder).free
    if free < needed * 1.1:
        raise UserError(
            f"{folder}: {free / GIB:.1f} GiB are free, {what} needs {needed * 1.1 / GIB:.1f} GiB; free some space, or set "
            "`root` in conf/data/<data>.yaml to a larger disk"
        )


def extract(archive: Path, folder: Path, unpacked: int) -> None:
    """Unpack a tar or zip archive into `folder`; refuses any member that would land outside it, links and devices.

    Members are looked at before the first one is written. Raises UserError.
    """
    require_space(folder, unpacked, f"unpacking {archive.name}")
    (_extract_zip if zipfile.is_zipfile(archive) else _extract_tar)(archive, folder)


def _extract_tar(archive: Path, folder: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            members = [m for m in tar.getmembers() if not _apple(m.name)]
            for member in members:
                _inside(member.name, archive)
                if not (member.isfile() or member.isdir()):
                    raise UserError(f"{archive}: member {member.name!r} is a link or device, expected files and folders "
                                    "only; do not use this archive, get it from the official page")  # fmt: skip
            # all members are files and folders inside of `folder`; the filter also drops their owners and odd permissions
            for member in run.progress(members, label=f"unpack {archive.name}", unit="file"):
                tar.extract(member, folder, **SAFE)
    except (tarfile.TarError, EOFError) as error:
        raise UserError(f"{archive}: not a whole tar archive ({error}); delete it and run `dvc repro download`") from error


def _extract_zip(archive: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(archive) as packed:
            members = [m for m in packed.infolist() if not _apple(m.filename)]
            for member in members:
                _inside(member.filename, archive)
            for member in run.progress(members, label=f"unpack {archive.name}", unit="file"):
                packed.extract(member, folder)
    except (zipfile.BadZipFile, EOFError) as error:
        raise UserError(f"{archive}: not a whole zip archive ({error}); delete it and run `dvc repro download`") from error


def _apple(name: str) -> bool:
    """macOS leftovers (`._x`, `__MACOSX/`), which look like NIfTI files and are not."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or (bool(parts) and parts[-1].startswith("._"))


def _inside(name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and ":" in path.parts[0]):
        raise UserError(f"{archive}: member {name!r} would be written outside the folder, expected paths below it; "
                        "do not use this archive, get it from the official page")  # fmt: skip


def _extract_all(root: Path, folder: Path, unpacked: int) -> None:
    """Unpack whatever archives the client has left in `folder` (some uploads are a zip of a tar)."""
    for archive in sorted([*folder.rglob("*.zip"), *folder.rglob("*.tar"), *folder.rglob("*.tar.gz")]):
        extract(archive, root, unpacked)


def _kaggle(kind: str, root: Path) -> Path:
    """Fetch by Kaggle's official client. UserError if it is absent or refuses."""
    where = f"download {KAGGLE[kind]} from kaggle.com by hand and unpack it to {root}"
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi  # an optional extra
    except ImportError as error:
        raise UserError(f"{kind}: the Kaggle client is not installed; pip install 'kaggle>=1.7', or {where}") from error
    except (OSError, ValueError, SystemExit) as error:  # the client reads its credentials when it is imported
        raise UserError(_credentials(kind, "Kaggle", KAGGLE_LOGIN, where)) from error
    api = KaggleApi()
    try:
        api.authenticate()
    except (OSError, ValueError, SystemExit) as error:
        raise UserError(_credentials(kind, "Kaggle", KAGGLE_LOGIN, where)) from error
    require_space(root, UNPACKED[kind], kind)
    try:
        api.dataset_download_files(KAGGLE[kind], path=str(root), unzip=False, quiet=False)
    except Exception as error:  # the client raises many kinds; every one means: not fetched
        raise UserError(f"{kind}: Kaggle did not deliver {KAGGLE[kind]} ({_first_line(error)}); {where}") from error
    return root


def _synapse(kind: str, entity: str, root: Path) -> Path:
    """Fetch by Synapse's official client (registration and the data terms are the user's). UserError if it refuses."""
    where = f"download {entity} from synapse.org by hand (register first) and unpack it to {root}"
    try:
        import synapseclient  # an optional extra
    except ImportError as error:
        raise UserError(f"{kind}: no Synapse client; pip install 'synapseclient>=4.7', or {where}") from error
    client = synapseclient.Synapse(silent=True)
    try:
        client.login(silent=True)
    except Exception as error:  # no credentials, no network: each version of the client has its own exceptions
        raise UserError(_credentials(kind, "Synapse", "~/.synapseConfig or SYNAPSE_AUTH_TOKEN", where)) from error
    require_space(root, UNPACKED[kind], kind)
    try:
        client.get(entity, downloadLocation=str(root))
    except Exception as error:
        raise UserError(f"{kind}: Synapse did not deliver {entity} ({_first_line(error)}); {where}") from error
    return root


def _credentials(kind: str, client: str, place: str, where: str) -> str:
    return f"{kind}: {client} found no valid credentials, expected them in {place}; set them, or {where}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
