from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from airserve.protocols import protos

BIN = Path(sys.executable).parent
FOLDER = Path(protos.__file__).parent


def test_the_generated_code_is_that_of_the_proto_files(tmp_path: Path) -> None:
    """If this fails: make proto."""
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", "-I", str(FOLDER),
            f"--plugin={BIN / 'protoc-gen-py'}", f"--plugin={BIN / 'protoc-gen-connectrpc'}",
            f"--py_out={tmp_path}", f"--connectrpc_out={tmp_path}", *map(str, sorted(FOLDER.glob("*.proto"))),
        ],
        check=True,
        timeout=120,
    )  # fmt: skip
    generated = {path.name: path.read_text() for path in tmp_path.glob("*.py")}
    assert len(generated) == 6
    for name, text in generated.items():
        assert (FOLDER / name).read_text() == text, name
