from __future__ import annotations

import os
import resource
from pathlib import Path

import numpy as np
import onnx
import pytest

from airserve.core.errors import BadPackageError, ModelRejectedError, UnsafeFormatError
from airserve.models.onnx_admission import admit
from airserve.models.onnx_budget import check_shapes, check_structure
from airserve.models.onnx_import import package_onnx
from airserve.models.onnx_limits import OnnxLimits
from airserve.models.onnx_trial import confine, try_graph
from tests.models.hostile_graphs import BOMBS, endless, integers, model, node
from tests.models_for_tests import save_linear, save_slow

# How many mutated graphs are tried; AIRSERVE_MUTATED_MODELS=1000 for the long run.
MUTANTS = int(os.environ.get("AIRSERVE_MUTATED_MODELS", "60"))


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_found_before_anything_of_it_is_made(name: str) -> None:
    graph, words = BOMBS[name]
    graph = onnx.load_model_from_string(graph.SerializeToString())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ModelRejectedError, match=words):
        check_structure(graph, OnnxLimits())
        check_shapes(graph, OnnxLimits())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


@pytest.mark.parametrize("name", ["constant-of-shape", "external"])
def test_what_a_bomb_is_refused_for_is_said_by_the_process_that_tried_it(name: str, tmp_path: Path) -> None:
    onnx.save(BOMBS[name][0], tmp_path / "bomb.onnx")
    with pytest.raises(ModelRejectedError, match=BOMBS[name][1]):
        admit(tmp_path / "bomb.onnx")
    with pytest.raises(ModelRejectedError):
        package_onnx(tmp_path / "bomb.onnx", tmp_path / "package", name="bomb")
    assert not (tmp_path / "package").exists()


def test_a_loop_without_end_takes_the_processor_time_of_its_process_and_no_more(tmp_path: Path) -> None:
    onnx.save(endless(), tmp_path / "endless.onnx")
    with pytest.raises(ModelRejectedError, match="processor time"):
        admit(tmp_path / "endless.onnx", OnnxLimits(seconds=1))


def test_memory_that_no_check_foresaw_is_bounded_by_the_kernel(tmp_path: Path) -> None:
    # The product of a shape is something that shape inference does not propagate.
    nodes = [node("ReduceProd", "s", "p", keepdims=1), node("ConstantOfShape", "p", "y"), node("Add", "y,y")]
    onnx.save(model(nodes, [integers("s", [1 << 14, 1 << 14])], 1), tmp_path / "late.onnx")
    check_shapes(onnx.load(tmp_path / "late.onnx"), OnnxLimits())
    with pytest.raises(BadPackageError):
        admit(tmp_path / "late.onnx", OnnxLimits(memory_bytes=1 << 28))
    # It is the bound that refuses it, and nothing else about the graph.
    assert admit(tmp_path / "late.onnx", OnnxLimits(memory_bytes=4 << 30)).inputs


def test_operators_that_an_operator_allows_are_let_through_to_the_runtime(tmp_path: Path) -> None:
    onnx.save(BOMBS["domain"][0], tmp_path / "own.onnx")
    with pytest.raises(ModelRejectedError, match="allowed_operator_domains"):
        admit(tmp_path / "own.onnx")
    assert admit(tmp_path / "own.onnx", OnnxLimits(domains=OnnxLimits().domains | {"evil.ops"})).inputs


def test_good_graphs_are_let_in_once_and_for_all(tmp_path: Path) -> None:
    first = admit(save_linear(tmp_path / "a.onnx"))
    assert [spec.name for spec in first.inputs] == ["x"]
    assert admit(save_linear(tmp_path / "a.onnx")) is first
    assert admit(save_slow(tmp_path / "slow.onnx")).outputs[0].shape == ()


def test_a_pickle_called_onnx_is_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x80\x04\x95\x0b\0\0\0\0\0\0\0\x8c\x02os\x94\x8c\x06system\x94\x93.")
    with pytest.raises(UnsafeFormatError) as refusal:
        admit(tmp_path / "m.onnx")
    assert refusal.value.http_status == 415


def test_mutated_graphs_harm_nobody_but_the_process_that_tries_them(tmp_path: Path) -> None:
    """A mutant ends in one of three ways: let in, refused, or the end of its process. This process goes on."""
    seeds = [save_linear(tmp_path / "l.onnx").read_bytes()]
    seeds += [graph.SerializeToString() for graph, _ in BOMBS.values()]
    draw = np.random.default_rng(25)
    ends = {"let in": 0, "refused": 0, "died": 0}
    for number in range(MUTANTS):
        mutant = mutated(seeds[number % len(seeds) if number % 2 else 0], draw)
        ends[tried_in_a_fork(mutant)] += 1
    assert sum(ends.values()) == MUTANTS and ends["let in"] and ends["refused"]


def mutated(content: bytes, draw: np.random.Generator) -> bytes:
    data = bytearray(content)
    for _ in range(int(draw.integers(1, 6))):
        place = int(draw.integers(len(data)))
        match int(draw.integers(4)):
            case 0:
                data[place] ^= 1 << int(draw.integers(8))
            case 1:
                data[place] = int(draw.integers(256))
            case 2:
                del data[place : place + int(draw.integers(1, 9))]
            case _:
                data[place:place] = draw.bytes(int(draw.integers(1, 9)))
        data = data or bytearray(b"\0")
    return bytes(data)


def tried_in_a_fork(content: bytes) -> str:
    """As the process of `admit` does it, without the start of an interpreter for each."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 2)
            limits = OnnxLimits(seconds=5, memory_bytes=1 << 30)
            confine(limits, len(content))
            try_graph(content, limits, "mutant")
            code = 0
        except BadPackageError:
            code = 1
        except Exception:
            code = 1  # `main` of the process turns it into a refusal
        finally:
            os._exit(code)
    _, status = os.waitpid(pid, 0)
    return {0: "let in", 1: "refused"}.get(os.waitstatus_to_exitcode(status), "died")
