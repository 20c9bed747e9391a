from __future__ import annotations

import os
import signal
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from airserve.core.errors import (
    BadPackageError,
    InvalidInputError,
    ModelFailedError,
    ModelLostError,
    OverloadedError,
)
from airserve.core.tensor import Signature, TensorSpec
from airserve.engines import Source, load_model
from airserve.engines.options import Python
from airserve.engines.python import PythonModel
from tests.waiting import until

X = TensorSpec("x", "FP32", (-1, 4))
Y = TensorSpec("y", "FP32", (-1, 4))
DOUBLE = """
class Model:
    def load(self, folder):
        self.factor = 2

    def predict(self, batch):
        return {"y": batch["x"] * self.factor}
"""

# What a predict method does is in the first element of its input.
MOODY = """
import os, sys, time
import numpy as np
from airserve.core.errors import InvalidInputError

class Model:
    def load(self, folder):
        pass

    def predict(self, batch):
        x = batch["x"]
        mood = x[0, 0]
        if mood == 1:
            os._exit(7)
        if mood == 2:
            import ctypes
            ctypes.string_at(0)
        if mood == 3:
            time.sleep(3600)
        if mood == 4:
            raise ValueError("a secret of the model")
        if mood == 5:
            sys.exit("enough")
        if mood == 6:
            raise InvalidInputError("x may not begin with 6")
        if mood == 7:
            return {"y": np.ones(1 << 33, np.uint8)}
        if mood == 8:
            os.write(1, b"raw noise on fd 1 " * 1000)
            print("noise on stdout", flush=True)
            print("noise on stderr", file=sys.stderr)
        return {"y": x + os.getpid()}
"""
Load = Callable[..., PythonModel]


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Load]:
    """Load code as a model; every model is closed afterwards."""
    loaded: list[PythonModel] = []

    def load_code(
        code: str, inputs: Any = (X,), outputs: Any = (Y,), max_batch: int = 8, **options: Any
    ) -> PythonModel:
        (tmp_path / "model.py").write_text(textwrap.dedent(code))
        source = Source(
            folder=tmp_path,
            file="model.py",
            signature=Signature(tuple(inputs), tuple(outputs), max_batch),
            python=Python(**options),
            model="mine",
        )
        model = load_model("python", source, threads=1)
        assert isinstance(model, PythonModel)
        loaded.append(model)
        return model

    yield load_code
    for model in loaded:
        model.close()
        assert not [keeper for keeper in model.processes._keepers if keeper.is_alive()]


def mood(number: float) -> dict[str, Any]:
    return {"x": np.array([[number, 0, 0, 0]], np.float32)}


def pid_of(model: PythonModel) -> int:
    return int(model.run(mood(0))["y"][0, 1])


def test_a_class_with_load_and_predict_is_a_model(load: Load) -> None:
    model = load(DOUBLE)
    np.testing.assert_array_equal(model.run({"x": np.ones((3, 4), np.float32)})["y"], np.full((3, 4), 2, np.float32))
    assert model.example(2)["x"].shape == (2, 4)


def test_answers_stay_as_they_are_when_the_next_batch_comes(load: Load) -> None:
    model = load(DOUBLE)
    first = model.run({"x": np.ones((1, 4), np.float32)})["y"]
    model.run({"x": np.full((1, 4), 9, np.float32)})
    np.testing.assert_array_equal(first, [[2, 2, 2, 2]])


@pytest.mark.parametrize(("number", "end"), [(1, "exit"), (2, "segmentation fault"), (5, "sys.exit")])
def test_a_process_that_ends_fails_its_call_and_is_replaced(load: Load, number: float, end: str) -> None:
    model = load(MOODY)
    former = pid_of(model)
    with pytest.raises(ModelLostError, match="its process ended") as lost:
        model.run(mood(number))
    assert lost.value.http_status == 503
    assert lost.value.replaced is not None
    assert lost.value.replaced.wait(20)
    assert pid_of(model) != former


def test_a_call_that_hangs_is_ended_at_its_timeout_with_all_that_it_started(load: Load, tmp_path: Path) -> None:
    code = """
        import subprocess, time
        class Model:
            def load(self, folder): self.folder = folder
            def predict(self, batch):
                if batch["x"][0, 0] == 3:
                    child = subprocess.Popen(["sleep", "3600"])
                    open(self.folder + "/child.txt", "w").write(str(child.pid))
                    time.sleep(3600)
                return {"y": batch["x"]}
    """
    model = load(code, timeout_ms=1500)
    with pytest.raises(ModelLostError, match="did not answer within 1500 ms"):
        model.run(mood(3))
    child = int((tmp_path / "child.txt").read_text())
    until(lambda: not _runs(child))
    np.testing.assert_array_equal(model.run(mood(0))["y"], [[0, 0, 0, 0]])


def test_an_exception_is_named_by_its_type_and_its_text_stays_in_the_log(load: Load) -> None:
    with structlog.testing.capture_logs() as logs:
        model = load(MOODY)
        with pytest.raises(ModelFailedError, match="ValueError") as failure:
            model.run(mood(4))
        assert "secret" not in failure.value.message
        until(lambda: any("a secret of the model" in entry.get("text", "") for entry in logs))
    pid_of(model)


def test_code_may_refuse_an_input_in_its_own_words(load: Load) -> None:
    model = load(MOODY)
    with pytest.raises(InvalidInputError, match="x may not begin with 6"):
        model.run(mood(6))


def test_more_memory_than_allowed_fails_the_call_and_leaves_the_process(load: Load) -> None:
    model = load(MOODY, memory_mb=1024)
    former = pid_of(model)
    with pytest.raises(ModelFailedError, match="MemoryError"):
        model.run(mood(7))
    assert pid_of(model) == former


def test_what_the_code_prints_goes_to_the_log_and_not_into_the_answers(load: Load) -> None:
    with structlog.testing.capture_logs() as logs:
        model = load(MOODY)
        pid = pid_of(model)
        assert model.run(mood(8))["y"][0, 1] == pid
        until(lambda: {"noise on stdout", "noise on stderr"} <= {str(entry.get("text")) for entry in logs})
    assert all(entry["model"] == "mine" and entry["pid"] == pid for entry in logs if "text" in entry)
    assert max(len(entry.get("text", "")) for entry in logs) <= 2000


def test_the_process_sees_path_and_the_manifests_variables_alone(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_SECRET_OF_THE_SERVICE", "hidden")
    monkeypatch.setenv("A_TOKEN", "for the model")
    code = """
        import os
        import numpy as np
        class Model:
            def load(self, folder): pass
            def predict(self, batch):
                names = sorted(f"{name}={value}" for name, value in os.environ.items() if name != "PATH")
                return {"y": np.array([" ".join(names)])}
    """
    model = load(
        code,
        inputs=[TensorSpec("x", "FP32", (1,))],
        outputs=[TensorSpec("y", "BYTES", (1,))],
        max_batch=0,
        environment={"MODE": "fast", "TOKEN": "$A_TOKEN"},
    )
    (seen,) = model.run({"x": np.zeros(1, np.float32)})["y"]
    # Python itself adds the locale that it falls back to (PEP 538).
    assert seen.decode().replace("LC_CTYPE=C.UTF-8 ", "") == "MODE=fast TOKEN=for the model"


def test_a_variable_that_is_not_set_is_named(load: Load) -> None:
    with pytest.raises(BadPackageError, match="NOT_SET_ANYWHERE"):
        load(DOUBLE, environment={"TOKEN": "$NOT_SET_ANYWHERE"})


def test_large_and_growing_tensors_cross_whole(load: Load) -> None:
    model = load(
        'class Model:\n    def predict(self, batch): return {"y": batch["x"][:, ::-1]}',
        inputs=[TensorSpec("x", "INT64", (-1, -1))],
        outputs=[TensorSpec("y", "INT64", (-1, -1))],
    )
    for width in (1, 3_000_000, 10, 5_000_000):
        x = np.arange(2 * width).reshape(2, width)
        np.testing.assert_array_equal(model.run({"x": x})["y"], x[:, ::-1])


def test_bytes_and_every_datatype_cross_as_they_are(load: Load) -> None:
    names = ("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64")
    specs = [TensorSpec(name.lower(), name, (-1, 2)) for name in (*names, "BYTES")]
    model = load("class Model:\n    def predict(self, batch): return batch", inputs=specs, outputs=specs)
    batch = {spec.name: np.array([[0, 1], [1, 1], [1, 0]]).astype(spec.dtype) for spec in specs}
    batch["bytes"] = np.array([[b"", b"\x00\xff"], ["Größe".encode(), b"a"], [b"b" * 70_000, b""]], dtype=object)
    answer = model.run(batch)
    for spec in specs:
        assert answer[spec.name].dtype == spec.dtype
        np.testing.assert_array_equal(answer[spec.name], batch[spec.name])


def test_batches_of_no_rows_and_tensors_of_no_elements_cross(load: Load) -> None:
    model = load(DOUBLE)
    assert model.run({"x": np.zeros((0, 4), np.float32)})["y"].shape == (0, 4)
    specs = [TensorSpec("x", "FP32", (-1, -1)), TensorSpec("s", "BYTES", (-1, -1))]
    model = load("class Model:\n    def predict(self, batch): return batch", inputs=specs, outputs=specs)
    answer = model.run({"x": np.zeros((2, 0), np.float32), "s": np.zeros((2, 0), object)})
    assert answer["x"].shape == answer["s"].shape == (2, 0)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("None", "predict returned NoneType"),
        ("{}", "no output 'y'"),
        ("{'y': x, 'z': x}", "does not know: z"),
        ("{'y': x.astype('float64')}", "output 'y' is FP64; its signature says FP32"),
        ("{'y': x[:, :3]}", r"shape \[2, 3\]; it should be \[2, 4\]"),
        ("{'y': x[:1]}", r"shape \[1, 4\]; it should be \[2, 4\]"),
        ("{'y': x * 1j}", "complex"),
        ("{'y': [[1], [1, 2]]}", "inhomogeneous"),
    ],
)
def test_a_wrong_answer_says_what_is_wrong_and_leaves_the_process(load: Load, answer: str, message: str) -> None:
    model = load(f"""
        class Model:
            def predict(self, batch):
                x = batch["x"]
                return {answer} if x[0, 0] else {{"y": x}}
    """)
    with pytest.raises(ModelFailedError, match=message):
        model.run({"x": np.ones((2, 4), np.float32)})
    model.run(mood(0))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import a_module_that_is_nowhere", "ModuleNotFoundError: No module named"),
        ("class Other: pass", "has no attribute 'Model'"),
        ("class Model: pass", "no method predict"),
        (
            "class Model:\n    def load(self, folder): raise OSError('no weights')\n    def predict(self, batch): ...",
            "no weights",
        ),
        ("import os; os._exit(3)", "its process ended"),
        ("x = (", "SyntaxError"),
    ],
)
def test_code_that_cannot_be_loaded_says_why(load: Load, code: str, message: str) -> None:
    with pytest.raises(BadPackageError, match=message):
        load(code)


def test_a_load_that_hangs_is_ended(load: Load) -> None:
    with pytest.raises(BadPackageError, match="within 1000 ms"):
        load("import time; time.sleep(3600)", load_timeout_ms=1000)


def test_other_modules_of_the_package_are_found_and_nothing_is_written_into_it(load: Load, tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("FACTOR = 3")
    model = load('import helper\nclass Model:\n    def predict(self, b): return {"y": b["x"] * helper.FACTOR}')
    assert model.run(mood(2))["y"][0, 0] == 6
    assert sorted(path.name for path in tmp_path.iterdir()) == ["helper.py", "model.py"]


def test_workers_run_batches_at_once_in_processes_of_their_own(load: Load, tmp_path: Path) -> None:
    code = """
        import os, time
        class Model:
            def predict(self, batch):
                me, other = ("a", "b") if batch["x"][0, 0] else ("b", "a")
                open(os.environ["FOLDER"] + "/" + me, "w").close()
                while not os.path.exists(os.environ["FOLDER"] + "/" + other):
                    time.sleep(0.01)
                return {"y": batch["x"] * 0 + os.getpid()}
    """
    model = load(code, workers=2, environment={"FOLDER": str(tmp_path)})
    pids: list[float] = []
    threads = [
        threading.Thread(target=lambda number=number: pids.append(model.run(mood(number))["y"][0, 0]))
        for number in (0, 1)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(pids)) == 2


def test_a_process_killed_while_idle_costs_no_call(load: Load) -> None:
    model = load(MOODY)
    for _ in range(5):
        pid = pid_of(model)
        os.kill(pid, signal.SIGKILL)
        until(lambda pid=pid: not _runs(pid))
        assert pid_of(model) != pid


def test_a_successor_that_cannot_be_loaded_is_tried_again_and_calls_are_refused_meanwhile(
    load: Load, tmp_path: Path
) -> None:
    code = f"""
        import os
        if os.path.exists("{tmp_path}/broken"):
            raise RuntimeError("broken now")
        class Model:
            def predict(self, batch):
                return {{"y": batch["x"] + os.getpid()}}
    """
    model = load(code)
    (tmp_path / "broken").touch()
    os.kill(pid_of(model), signal.SIGKILL)

    def refused() -> bool:
        try:
            model.run(mood(0))
        except ModelLostError:
            return False
        except OverloadedError as error:
            return "tried again" in error.message
        return False

    until(refused)
    (tmp_path / "broken").unlink()
    until(lambda: not refused())
    assert pid_of(model)


def test_closing_ends_the_processes_also_one_that_is_busy(load: Load) -> None:
    model = load(MOODY, workers=2)
    pids = [process.pid for process in model.processes._running.values()]
    refusals: list[ModelLostError] = []

    def hang() -> None:
        try:
            model.run(mood(3))
        except ModelLostError as error:
            refusals.append(error)

    busy = threading.Thread(target=hang)
    busy.start()
    until(lambda: len(model.processes._free) == 1)
    model.close()
    busy.join()
    assert len(refusals) == 1
    assert not any(map(_runs, pids))


def test_nothing_is_left_of_many_rounds(load: Load) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    load(DOUBLE).close()
    before, shared, threads = descriptors(), set(Path("/dev/shm").iterdir()), threading.active_count()
    for _ in range(5):
        model = load(DOUBLE)
        model.run({"x": np.ones((8, 4), np.float32)})
        model.close()
    until(lambda: descriptors() <= before and threading.active_count() <= threads)
    assert set(Path("/dev/shm").iterdir()) <= shared


def _runs(pid: int) -> bool:
    """Whether the process exists and is no zombie; it is none as long as one of its threads is still ending."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z" or threads > 1
