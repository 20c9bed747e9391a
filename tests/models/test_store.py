from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airserve.core.errors import AirserveError, BadPackageError, ConflictError, InvalidInputError
from airserve.engines import load_model
from airserve.models.catalog import Catalog
from airserve.models.encryption import CHUNK, decrypt, encrypt
from airserve.models.policy import StorePolicy
from airserve.models.store_key import CommandKey, KeyService, LocalKey, load_store_key, new_key_file
from airserve.models.stored_package import KEY_NAME, SEALED
from airserve.storage import Database
from tests.models_for_tests import save_linear, save_wide

ADDRESS = "ab" * 32
DATA_KEY = b"d" * 32
OLD, NEW = LocalKey(b"o" * 32), LocalKey(b"n" * 32)
_STEP = CHUNK + 16
_HEAD = 11


def sealed(content: bytes, *, address: str = ADDRESS, name: str = "w") -> bytes:
    target = io.BytesIO()
    encrypt(io.BytesIO(content), target, DATA_KEY, address=address, name=name)
    return target.getvalue()


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([0, 1, 100, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7]), st.integers(0, 255))
def test_what_was_encrypted_comes_back(size: int, byte: int) -> None:
    content = bytes([byte]) * size
    assert decrypt(sealed(content), DATA_KEY, address=ADDRESS, name="w") == content


def chunks_of(data: bytes) -> list[bytes]:
    return [data[at : at + _STEP] for at in range(_HEAD, len(data), _STEP)]


@pytest.mark.parametrize(
    "harm",
    [
        lambda head, chunks: head + b"".join(chunks[:-1]),
        lambda head, chunks: head + b"".join([chunks[1], chunks[0], *chunks[2:]]),
        lambda head, chunks: head + b"".join([chunks[0], chunks[0], *chunks[1:]]),
        lambda head, chunks: head + b"".join([chunks[0], *chunks[2:]]),
        lambda head, chunks: head + b"".join([*chunks, chunks[-1]]),
        lambda head, chunks: head + b"".join(chunks)[:-1],
        lambda head, chunks: head + b"".join(chunks) + b"x",
        lambda head, chunks: head + b"".join(chunks)[: 2 * _STEP],
        lambda head, chunks: head,
        lambda head, chunks: head[:4] + bytes(7) + b"".join(chunks),
        lambda head, chunks: b"",
    ],
)
def test_chunks_that_were_cut_swapped_repeated_or_dropped_do_not_open(
    harm: Callable[[bytes, list[bytes]], bytes],
) -> None:
    data = sealed(np.random.default_rng(1).bytes(3 * CHUNK + 500))
    with pytest.raises(BadPackageError):
        decrypt(harm(data[:_HEAD], chunks_of(data)), DATA_KEY, address=ADDRESS, name="w")


@given(st.data())
def test_no_bit_can_be_flipped(data: st.DataObject) -> None:
    content = bytearray(sealed(b"weights of a model"))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(BadPackageError):
        decrypt(bytes(content), DATA_KEY, address=ADDRESS, name="w")


def test_equal_chunks_look_different() -> None:
    chunks = chunks_of(sealed(bytes(3 * CHUNK)))
    assert len({chunk[:64] for chunk in chunks}) == len(chunks)


def test_a_file_opens_only_in_its_package_under_its_name() -> None:
    data = sealed(b"weights")
    for address, name, key in (
        (ADDRESS[:-2] + "00", "w", DATA_KEY),
        (ADDRESS, "v", DATA_KEY),
        (ADDRESS, "w", bytes(32)),
    ):
        with pytest.raises(BadPackageError):
            decrypt(data, key, address=address, name=name)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database.open(tmp_path / "state")
    yield database
    database.close()


def catalog(database: Database, tmp_path: Path, key: KeyService | None) -> Catalog:
    return Catalog(database, tmp_path / "store", StorePolicy(key=key))


def answer(served: Catalog) -> float:
    (spec,) = served.deployments()
    model = load_model("onnx", spec.source, threads=1)
    value = float(model.run({"x": np.ones((1, 4), np.float32)})["y"][0, 0])
    model.close()
    return value


def test_weights_lie_encrypted_and_are_served_from_memory(database: Database, tmp_path: Path) -> None:
    graph = save_linear(tmp_path / "m.onnx", 7)
    served = catalog(database, tmp_path, OLD)
    assert served.publish(graph).version == served.publish(graph).version
    assert answer(served) == 7
    with pytest.raises(BadPackageError, match="set store_key_file"):
        catalog(database, tmp_path, None).publish(graph)
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())
    content = graph.read_bytes()
    assert content[:40] not in on_disk and b"[[inputs]]" not in on_disk
    assert served.verify() == {("m", 1): None}


@pytest.mark.parametrize("key", [None, NEW])
def test_without_its_key_a_package_is_refused_with_what_is_missing(
    key: KeyService | None, database: Database, tmp_path: Path
) -> None:
    catalog(database, tmp_path, OLD).publish(save_linear(tmp_path / "m.onnx"))
    with pytest.raises(BadPackageError, match=f"store key {OLD.id}") as refusal:
        answer(catalog(database, tmp_path, key))
    assert ("set store_key_file" if key is None else NEW.id) in refusal.value.message


def test_any_file_that_was_changed_in_the_store_is_refused(database: Database, tmp_path: Path) -> None:
    served = catalog(database, tmp_path, OLD)
    served.publish(save_linear(tmp_path / "m.onnx"))
    (spec,) = served.deployments()
    for name in (f"model.onnx{SEALED}", f"SHA256SUMS{SEALED}", KEY_NAME):
        file = spec.folder / name
        whole = file.read_bytes()
        for place in (0, len(whole) // 2, len(whole) - 3):
            file.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with pytest.raises(BadPackageError):
                answer(served)
        file.write_bytes(whole)
    assert answer(served) == 2


def test_an_older_version_cannot_be_put_in_the_place_of_a_newer(database: Database, tmp_path: Path) -> None:
    served = catalog(database, tmp_path, OLD)
    old = served.publish(save_linear(tmp_path / "m.onnx", 1))
    new = served.publish(save_linear(tmp_path / "m.onnx", 2))
    target = tmp_path / "store" / new.address
    shutil.rmtree(target)
    shutil.copytree(tmp_path / "store" / old.address, target)
    with pytest.raises(BadPackageError):
        answer(served)


def test_plain_packages_are_held_against_their_address_too(database: Database, tmp_path: Path) -> None:
    served = catalog(database, tmp_path, None)
    served.publish(save_linear(tmp_path / "m.onnx", 1))
    (spec,) = served.deployments()
    # A graph that loads, and is another.
    (spec.folder / "model.onnx").write_bytes(save_linear(tmp_path / "evil.onnx", 9).read_bytes())
    with pytest.raises(BadPackageError, match="does not match its checksum"):
        answer(served)
    # Its checksum renewed as well: the address still says what the checksums were.
    sums = (spec.folder / "SHA256SUMS").read_text()
    was = hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    now = hashlib.sha256((tmp_path / "evil.onnx").read_bytes()).hexdigest()
    (spec.folder / "SHA256SUMS").write_text(sums.replace(was, now))
    with pytest.raises(BadPackageError, match="SHA256SUMS"):
        answer(catalog(database, tmp_path, None))
    # Publishing it again mends the store.
    served.publish(save_linear(tmp_path / "m.onnx", 1))
    assert answer(served) == 1


def test_what_lay_in_plaintext_is_encrypted_in_place_also_after_a_crash(database: Database, tmp_path: Path) -> None:
    plain = catalog(database, tmp_path, None)
    published = plain.publish(save_linear(tmp_path / "m.onnx", 3))
    folder = tmp_path / "store" / published.address
    # Stopped before the key was written: some files are there twice.
    (folder / f"model.onnx{SEALED}").write_bytes(b"half")
    served = catalog(database, tmp_path, OLD)
    assert answer(served) == 3
    assert served.store.encrypt_all() == 1
    assert sorted(path.name for path in folder.iterdir()) == sorted(
        [KEY_NAME, f"SHA256SUMS{SEALED}", f"airserve.toml{SEALED}", f"model.onnx{SEALED}"]
    )
    assert answer(served) == 3
    # Stopped before the plaintext was removed.
    (folder / "model.onnx").write_bytes(b"left behind")
    assert served.store.encrypt_all() == 0 and not (folder / "model.onnx").exists()
    with pytest.raises(InvalidInputError, match="no store key"):
        plain.store.encrypt_all()


def test_a_key_is_replaced_without_a_chunk_being_touched_and_the_old_one_opens_nothing(
    database: Database, tmp_path: Path
) -> None:
    old, new = catalog(database, tmp_path, OLD), catalog(database, tmp_path, NEW)
    published = old.publish(save_wide(tmp_path / "m.onnx", 4, 5.0))
    weights = tmp_path / "store" / published.address / f"model.onnx{SEALED}"
    before = weights.stat().st_mtime_ns, weights.read_bytes()
    with pytest.raises(ConflictError, match="alone"):
        old.store.drop_key(OLD.id)
    assert old.store.rewrap(NEW) == 1 and old.store.rewrap(NEW) == 0
    assert answer(old) == answer(new) == 5
    assert new.store.drop_key(OLD.id) == 1
    assert (weights.stat().st_mtime_ns, weights.read_bytes()) == before
    assert answer(new) == 5
    with pytest.raises(BadPackageError, match=NEW.id):
        answer(old)


def kms(folder: Path) -> str:
    """A program that keeps a key to itself."""
    script = folder / "kms.py"
    script.write_text(
        "import sys\n"
        "verb, text = sys.argv[1], sys.stdin.read().strip()\n"
        "if verb == 'id': print('vault/one')\n"
        "if verb == 'wrap': print('v1:' + text[::-1])\n"
        "if verb == 'unwrap':\n"
        "    if not text.startswith('v1:'): sys.exit('not mine')\n"
        "    print(text[3:][::-1])\n"
    )
    return f"{sys.executable} {script}"


def test_a_program_can_hold_the_key(database: Database, tmp_path: Path) -> None:
    key = load_store_key(None, kms(tmp_path), {})
    assert isinstance(key, CommandKey) and key.id == "vault/one"
    served = catalog(database, tmp_path, key)
    served.publish(save_linear(tmp_path / "m.onnx", 4))
    assert answer(served) == 4
    with pytest.raises(AirserveError, match="not mine"):
        key.unwrap("other")
    with pytest.raises(AirserveError, match="could not be run"):
        _ = CommandKey("/nowhere/kms").id
    with pytest.raises(AirserveError, match="exit code 1"):
        _ = CommandKey("false").id


def test_where_the_key_comes_from(tmp_path: Path) -> None:
    made = new_key_file(tmp_path / "store.key")
    assert stat.S_IMODE((tmp_path / "store.key").stat().st_mode) == 0o600
    with pytest.raises(ConflictError):
        new_key_file(tmp_path / "store.key")
    text = (tmp_path / "store.key").read_text().strip()
    for found in (
        load_store_key(tmp_path / "store.key", None, {}),
        load_store_key(None, None, {"AIRSERVE_STORE_KEY": text}),
    ):
        assert found is not None and found.id == made.id
    assert load_store_key(None, None, {}) is None
    with pytest.raises(InvalidInputError, match="keep one"):
        load_store_key(tmp_path / "store.key", None, {"AIRSERVE_STORE_KEY": text})
    (tmp_path / "short").write_text("c2hvcnQ=")
    for file in ("short", "missing"):
        with pytest.raises(InvalidInputError):
            load_store_key(tmp_path / file, None, {})
    assert OLD.unwrap(OLD.wrap(DATA_KEY)) == DATA_KEY
    with pytest.raises(BadPackageError):
        NEW.unwrap(OLD.wrap(DATA_KEY))


def test_a_library_that_wants_a_path_gets_one_of_anonymous_memory(database: Database, tmp_path: Path) -> None:
    graph = save_linear(tmp_path / "m.onnx")
    served = catalog(database, tmp_path, OLD)
    served.publish(graph)
    (spec,) = served.deployments()
    with spec.source.contents.opened("model.onnx") as path:
        assert path.read_bytes() == graph.read_bytes()
        assert str(path.readlink()).startswith("/memfd:")
        with pytest.raises(OSError):
            path.write_bytes(b"changed")
    assert not path.exists()


MODEL = """
from pathlib import Path
import helper

class Model:
    inputs = {"x": ("FP32", [-1, 4])}
    outputs = {"y": ("FP32", [-1, 4])}
    max_batch = 8
    def load(self, folder):
        self.factor = float(Path(folder, "data/factor.txt").read_text())
    def predict(self, batch):
        return {"y": batch["x"] * self.factor * helper.TWO}
"""


def in_memory() -> int:
    """How many files without a name this process holds open (memfd_create(2)); one may end while it is looked at."""
    found = 0
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found += str(each.readlink()).startswith("/memfd:")
    return found


def test_code_with_its_files_runs_from_memory(database: Database, tmp_path: Path) -> None:
    source = tmp_path / "code"
    (source / "data").mkdir(parents=True)
    (source / "model.py").write_text(MODEL)
    (source / "helper.py").write_text("TWO = 2")
    (source / "data" / "factor.txt").write_text("2.5")
    served = catalog(database, tmp_path, OLD)
    served.publish(source, name="coded")
    (spec,) = served.deployments()
    before = in_memory()
    model = load_model("python", spec.source, threads=1)
    assert model.run({"x": np.ones((1, 4), np.float32)})["y"][0, 0] == 5
    model.close()
    assert in_memory() <= before
    on_disk = b"".join(path.read_bytes() for path in (tmp_path / "store").rglob("*") if path.is_file())
    assert b"helper.TWO" not in on_disk
    (spec.folder / f"helper.py{SEALED}").write_bytes(b"other")
    with pytest.raises(BadPackageError):
        load_model("python", spec.source, threads=1)
