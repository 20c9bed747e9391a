"""Against a real model, Gemma 3 270M: what it says is of no interest here, how it says it is."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airserve.core.errors import AirserveError, BadPackageError, InvalidInputError
from airserve.core.generation import Generation, Piece
from airserve.engines.llama import LlamaGenerator
from airserve.engines.options import Language
from tests import large_models

pytestmark = pytest.mark.models

CONTEXT = 512
COUNTING = {"prompt": "1, 2, 3, 4,", "temperature": 0}
NO_SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"type": "nonsense"}}}
PICTURE = {"type": "image_url", "image_url": {"url": "file:///x"}}


@pytest.fixture(scope="module")
def gemma() -> Iterator[LlamaGenerator]:
    generator = LlamaGenerator(large_models.gemma(), Language(context=CONTEXT, slots=2), threads=1)
    yield generator
    generator.close()


def pieces_of(
    gemma: LlamaGenerator, parameters: dict[str, Any], *, chat: bool = False, until: Callable[[int], bool] | None = None
) -> list[Piece]:
    pieces: list[Piece] = []

    def emit(piece: Piece) -> bool:
        pieces.append(piece)
        return until is None or not until(len(pieces))

    gemma.generate(Generation(chat, parameters), emit)
    return pieces


def text_of(pieces: list[Piece], index: int = 0) -> str:
    choices = [choice for piece in pieces for choice in piece.choices if choice["index"] == index]
    return "".join(choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices)


def say(**parameters: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Say something."}], "max_tokens": 4, **parameters}


def test_a_completion_comes_token_by_token_and_ends_with_one_final_piece(gemma: LlamaGenerator) -> None:
    pieces = pieces_of(gemma, {**COUNTING, "max_tokens": 6})
    assert text_of(pieces).startswith(" 5, 6")
    assert [piece.final for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    assert pieces[-1].choices[0]["finish_reason"] == "length"
    assert [piece.tokens.output for piece in pieces if piece.choices] == [1, 2, 3, 4, 5, 6, 6]


def test_the_first_piece_of_a_chat_names_the_role_and_counts_its_token(gemma: LlamaGenerator) -> None:
    first, *_, last = pieces_of(gemma, say(), chat=True)
    assert first.choices[0]["delta"]["role"] == "assistant"
    assert first.choices[0]["delta"]["content"]
    assert (first.tokens.output, last.tokens.output) == (1, 4)
    assert last.final


def test_what_one_tenant_has_asked_is_not_in_the_cache_of_another(gemma: LlamaGenerator) -> None:
    prompt = {"prompt": "A secret that only its owner knows is told here: the key lies under the mat.", "max_tokens": 1}

    def cached(owner: str) -> int:
        pieces: list[Piece] = []
        gemma.generate(Generation(False, prompt, owner), lambda piece: not pieces.append(piece))
        return pieces[-1].tokens.cached

    first, again, stranger, again_after, stranger_again = map(cached, ("a", "a", "b", "a", "b"))
    assert (first, stranger) == (0, 0)
    assert min(again, again_after, stranger_again) > 5


def test_a_prompt_that_was_seen_before_is_cached(gemma: LlamaGenerator) -> None:
    parameters = {"prompt": "The quick brown fox jumps over the lazy dog. " * 10, "max_tokens": 1}
    first = pieces_of(gemma, parameters)[-1].tokens
    again = pieces_of(gemma, parameters)[-1].tokens
    assert again.input == first.input > 100
    assert again.input - 10 < again.cached < again.input


def test_a_stop_string_ends_the_text_before_it_and_held_back_tokens_are_counted(gemma: LlamaGenerator) -> None:
    pieces = pieces_of(gemma, {**COUNTING, "max_tokens": 30, "stop": [" 7, 8, 9"]})
    assert text_of(pieces) == " 5, 6,"
    assert pieces[-1].choices[0]["finish_reason"] == "stop"
    said = [piece for piece in pieces if text_of([piece])]
    assert pieces[-1].tokens.output > len(said)


def test_characters_of_several_tokens_come_whole_and_each_token_is_counted(gemma: LlamaGenerator) -> None:
    pieces = pieces_of(gemma, {"prompt": "Repeat: 🦊🦝🐻🦊🦝🐻🦊🦝🐻", "max_tokens": 12, "temperature": 0})
    assert "\ufffd" not in text_of(pieces)
    assert pieces[-1].tokens.output == 12


def test_the_same_seed_says_the_same_and_another_one_something_else(gemma: LlamaGenerator) -> None:
    def said(seed: int) -> str:
        return text_of(pieces_of(gemma, {"prompt": "Once", "max_tokens": 12, "temperature": 1.5, "seed": seed}))

    assert said(1) == said(1)
    assert len({said(seed) for seed in range(2, 6)}) > 1


def test_an_answer_fits_the_schema_that_it_was_given(gemma: LlamaGenerator) -> None:
    schema = {"type": "object", "properties": {"colour": {"enum": ["red", "green"]}}, "required": ["colour"]}
    schema_format = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
    # Left to chance, a small model may fill all its tokens with the blanks that JSON allows.
    asked = say(max_tokens=40, temperature=0, response_format=schema_format)
    said = text_of(pieces_of(gemma, asked, chat=True))
    assert json.loads(said)["colour"] in ("red", "green")


def test_log_probabilities_have_the_form_of_each_api(gemma: LlamaGenerator) -> None:
    chat = pieces_of(gemma, say(logprobs=True, top_logprobs=2), chat=True)[0].choices[0]["logprobs"]["content"]
    assert len(chat[0]["top_logprobs"]) == 2
    assert chat[0]["logprob"] <= 0
    pieces = pieces_of(gemma, {**COUNTING, "max_tokens": 3, "logprobs": 2})
    found = [choice["logprobs"] for piece in pieces for choice in piece.choices if choice["logprobs"]]
    assert "".join(token for each in found for token in each["tokens"]) == text_of(pieces)
    assert [len(each["top_logprobs"][0]) for each in found] == [2, 2, 2]
    assert found[0]["text_offset"] == [0]
    assert found[1]["text_offset"] == [len(found[0]["tokens"][0])]


@pytest.mark.parametrize("chat", [True, False])
def test_the_tokens_of_several_choices_are_counted_together_and_the_prompt_once(
    gemma: LlamaGenerator, chat: bool
) -> None:
    parameters = say(n=2) if chat else {**COUNTING, "max_tokens": 4, "n": 2}
    pieces = pieces_of(gemma, parameters, chat=chat)
    alone = pieces_of(gemma, {**parameters, "n": 1}, chat=chat)
    assert [choice["index"] for choice in pieces[-1].choices] == [0, 1]
    assert text_of(pieces, 0) and text_of(pieces, 1)
    assert pieces[-1].tokens.output == 8
    assert pieces[-1].tokens.input == alone[-1].tokens.input


def test_it_stops_within_one_token_and_the_slot_is_free_again(gemma: LlamaGenerator) -> None:
    for _ in range(6):
        pieces = pieces_of(gemma, {**COUNTING, "max_tokens": 400}, until=lambda count: count == 3)
        assert [piece.tokens.output for piece in pieces] == [1, 2, 3]
    assert pieces_of(gemma, {**COUNTING, "max_tokens": 2})[-1].final


def test_a_prompt_that_is_too_long_is_refused_with_both_numbers(gemma: LlamaGenerator) -> None:
    with pytest.raises(InvalidInputError, match=rf"the prompt has \d{{3,}} tokens.*holds {CONTEXT}"):
        pieces_of(gemma, {"prompt": "word " * (CONTEXT + 100), "max_tokens": 1})


def test_an_answer_ends_where_the_context_is_full(gemma: LlamaGenerator) -> None:
    last = pieces_of(gemma, {"prompt": "word " * (CONTEXT - 20), "max_tokens": 400})[-1]
    assert last.choices[0]["finish_reason"] in ("length", "stop")
    assert last.tokens.input + last.tokens.output <= CONTEXT + 1


@pytest.mark.parametrize(
    ("parameters", "chat", "says"),
    [
        (say(response_format=NO_SCHEMA), True, "nonsense"),
        (say(messages=[{"role": "user"}]), True, "content"),
        (say(messages=[{"role": "user", "content": [PICTURE]}]), True, "image"),
        ({**COUNTING, "temperature": "hot"}, False, "temperature"),
        ({**COUNTING, "n": 99}, False, "n"),
    ],
)
def test_what_the_model_cannot_take_is_refused_with_a_sentence(
    gemma: LlamaGenerator, parameters: dict[str, Any], chat: bool, says: str
) -> None:
    with pytest.raises(InvalidInputError, match=says):
        pieces_of(gemma, parameters, chat=chat)


def test_an_error_of_the_receiver_is_not_lost_in_the_engine(gemma: LlamaGenerator) -> None:
    def emit(piece: Piece) -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        gemma.generate(Generation(False, {**COUNTING, "max_tokens": 4}), emit)


def test_all_slots_generate_at_once_and_each_gets_its_own_answer(gemma: LlamaGenerator) -> None:
    both_began = threading.Barrier(2, timeout=60)

    def count_from(start: int) -> str:
        numbers = ", ".join(str(start + step) for step in range(4))
        pieces: list[Piece] = []

        def emit(piece: Piece) -> bool:
            if not pieces:
                both_began.wait()
            pieces.append(piece)
            return True

        gemma.generate(Generation(False, {"prompt": f"{numbers},", "max_tokens": 4, "temperature": 0}), emit)
        return text_of(pieces)

    with ThreadPoolExecutor(2) as threads:
        ones, hundreds = threads.map(count_from, (1, 101))
    assert ones.startswith(" 5")
    assert "10" in hundreds


def test_other_threads_go_on_while_it_computes(gemma: LlamaGenerator) -> None:
    beats, done = 0, threading.Event()

    def beat() -> None:
        nonlocal beats
        while not done.is_set():
            beats += 1
            time.sleep(0.001)

    other = threading.Thread(target=beat)
    other.start()
    heard: list[int] = []

    def emit(piece: Piece) -> bool:
        heard.append(beats)
        return True

    gemma.generate(Generation(False, {"prompt": "word " * 300, "max_tokens": 8}), emit)
    done.set()
    other.join()
    # The prompt is computed in one go before the first piece.
    assert heard[0] > 5
    assert heard[-1] > heard[0]


def test_it_listens_on_no_port_and_writes_nothing_to_the_terminal() -> None:
    script = f"""
import os, socket
from pathlib import Path
from airserve.core.generation import Generation
from airserve.engines.llama import LlamaGenerator
from airserve.engines.options import Language

generator = LlamaGenerator(Path({str(large_models.gemma())!r}), Language(context=256, slots=1), threads=1)
generator.generate(Generation(False, {{"prompt": "a", "max_tokens": 2}}), lambda piece: True)
for name in os.listdir("/proc/self/fd"):
    try:
        its = socket.socket(fileno=os.dup(int(name)))
    except OSError:
        continue
    assert its.family == socket.AF_UNIX and not os.path.exists(its.getsockname()), its
generator.close()
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_damaged_file_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with large_models.gemma().open("rb") as whole:
        (tmp_path / "cut.gguf").write_bytes(whole.read(8_000_000))
    with pytest.raises(BadPackageError, match=r"cannot load cut\.gguf"):
        LlamaGenerator(tmp_path / "cut.gguf", Language(context=256, slots=1), threads=1)


def test_its_errors_are_of_the_family(gemma: LlamaGenerator) -> None:
    with pytest.raises(AirserveError) as raised:
        pieces_of(gemma, {**COUNTING, "logit_bias": 7, "stop": 5, "temperature": []})
    assert "\n" not in raised.value.message
    assert pieces_of(gemma, {**COUNTING, "max_tokens": 1})[-1].tokens.output == 1
