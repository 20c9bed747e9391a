from __future__ import annotations

import io
import os
import tarfile
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from airserve.core.errors import AirserveError, BadPackageError
from airserve.models.archive import pack, unpacked
from airserve.models.package import open_package, write_package
from tests.models.test_package import MANIFEST


@pytest.fixture
def package(tmp_path: Path) -> Path:
    return write_package(tmp_path / "p", MANIFEST, {"model.onnx": b"bytes", "sub/labels.txt": b"a\nb\n"})


def test_packed_and_unpacked_it_has_the_same_address(package: Path, tmp_path: Path) -> None:
    address = open_package(package).address
    first = pack(package, tmp_path / "a.tar.zst").read_bytes()
    with unpacked(tmp_path / "a.tar.zst", tmp_path) as folder:
        assert open_package(folder).address == address
    assert pack(package, tmp_path / "b.tar.zst").read_bytes() == first
    assert not list(tmp_path.glob("staging-*"))


def test_a_package_over_the_bound_is_refused(package: Path, tmp_path: Path) -> None:
    with pytest.raises(BadPackageError, match="larger"):
        open_package(package, max_bytes=10)
    packed = pack(package, tmp_path / "a.tar.zst")
    with pytest.raises(BadPackageError, match="larger"), unpacked(packed, tmp_path, max_bytes=10):
        pass


def tarball(path: Path, *entries: tuple[tarfile.TarInfo, bytes]) -> Path:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for info, content in entries:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    path.write_bytes(zstandard.ZstdCompressor().compress(buffer.getvalue()))
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "entries",
    [
        [(entry("../escape"), b"x")],
        [(entry("/tmp/escape-airserve"), b"x")],
        [(entry("link", tarfile.SYMTYPE, "/etc/passwd"), b"")],
        [(entry("hard", tarfile.LNKTYPE, "../../etc/passwd"), b"")],
        [(entry("device", tarfile.CHRTYPE), b"")],
        [(entry("twice"), b"x"), (entry("twice"), b"y")],
    ],
)
def test_an_archive_that_would_leave_its_folder_is_refused_and_leaves_nothing(
    entries: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    path = tarball(tmp_path / "evil.tar.zst", *entries)
    with pytest.raises(BadPackageError), unpacked(path, scratch):
        pass
    assert not list(scratch.iterdir())
    assert not (tmp_path / "escape").exists()
    assert not Path("/tmp/escape-airserve").exists()


def test_a_bomb_is_stopped_at_the_bound(tmp_path: Path) -> None:
    path = tarball(tmp_path / "bomb.tar.zst", (entry("zeros"), b"\0" * 50_000_000))
    assert path.stat().st_size < 10_000
    with pytest.raises(BadPackageError, match="larger"), unpacked(path, tmp_path, max_bytes=1_000_000):
        pass


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_cut_off_archive_is_refused(package: Path, tmp_path: Path, cut: int) -> None:
    packed = pack(package, tmp_path / "a.tar.zst")
    packed.write_bytes(packed.read_bytes()[:-cut])
    with pytest.raises(AirserveError), unpacked(packed, tmp_path) as folder:
        open_package(folder)


def test_a_million_folders_are_refused_early(tmp_path: Path) -> None:
    path = tarball(tmp_path / "many.tar.zst", *((entry(f"d{n}/", tarfile.DIRTYPE), b"") for n in range(1_500)))
    with pytest.raises(BadPackageError, match="1000 files"), unpacked(path, tmp_path):
        pass


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_header_that_is_the_bomb_is_refused_before_it_is_read(kind: bytes, tmp_path: Path) -> None:
    path = tarball(tmp_path / "bomb.tar.zst", (entry("long", kind), b"a" * 40_000_000), (entry("file"), b"x"))
    tracemalloc.start()
    with pytest.raises(BadPackageError, match="header"), unpacked(path, tmp_path):
        pass
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_headers_that_follow_headers_without_end_are_refused(tmp_path: Path) -> None:
    chain = ((entry("h", tarfile.GNUTYPE_LONGNAME), b"name\0") for _ in range(5_000))
    path = tarball(tmp_path / "chain.tar.zst", *chain, (entry("file"), b"x"))
    with pytest.raises(BadPackageError), unpacked(path, tmp_path):
        pass


def test_a_sparse_file_is_refused(tmp_path: Path) -> None:
    path = tarball(tmp_path / "sparse.tar.zst", (entry("sparse", tarfile.GNUTYPE_SPARSE), b""))
    with pytest.raises(BadPackageError), unpacked(path, tmp_path):
        pass


def test_a_signature_travels_in_the_archive(package: Path, tmp_path: Path) -> None:
    (package / "airserve.sig.json").write_bytes(b"{}")
    with unpacked(pack(package, tmp_path / "a.tar.zst"), tmp_path) as folder:
        assert (folder / "airserve.sig.json").read_bytes() == b"{}"


def test_a_pipe_in_the_folder_is_refused_and_not_waited_for(package: Path) -> None:
    os.mkfifo(package / "pipe")
    with pytest.raises(BadPackageError, match="pipe"):
        open_package(package)
