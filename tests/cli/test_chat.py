from __future__ import annotations

import json
import os
import pty
import subprocess

import pytest

from tests.conftest import AIRSERVE, Service

pytestmark = pytest.mark.models

STILL = ("--temperature", "0", "--max-tokens", "8")


def run(service: Service, *arguments: str, said: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [AIRSERVE, *arguments, "--state-dir", str(service.state_dir)],
        input=said,
        stdin=subprocess.DEVNULL if said is None else None,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_prompt_is_answered_as_an_argument_on_standard_input_and_as_json(large_service: Service) -> None:
    argument = run(large_service, "chat", "gemma", "Say hello.", *STILL)
    assert argument.returncode == 0, argument.stderr
    assert argument.stdout.strip()
    piped = run(large_service, "chat", "gemma", *STILL, said="Say hello.")
    assert piped.stdout == argument.stdout
    document = json.loads(run(large_service, "chat", "gemma", "Say hello.", *STILL, "--json").stdout)
    assert document["text"] + "\n" == argument.stdout
    assert document["finish_reason"] == "length"
    assert document["usage"]["output"] == 8


def test_the_system_message_is_part_of_the_prompt(large_service: Service) -> None:
    plain, told = (
        json.loads(run(large_service, "chat", "gemma", "Say hello.", *STILL, "--json", *system).stdout)
        for system in ((), ("--system", "You are a very polite butler."))
    )
    assert told["usage"]["input"] > plain["usage"]["input"]


def test_what_cannot_be_answered_ends_with_a_sentence_and_a_code(large_service: Service) -> None:
    for arguments, said, code, sentence in (
        (("chat", "gemma"), "  \n", 3, "nothing to say"),
        (("chat", "digits", "x"), None, 3, "does not generate text"),
        (("chat", "nobody", "x"), None, 4, "unknown model"),
        (("chat", "gemma", "x", "--temperature", "9"), None, 3, "temperature"),
        (("chat", "gemma", "x", "--key", "nonsense"), None, 5, "no Airserve API key"),
        (("embed", "gemma", "x"), None, 3, "no embeddings"),
    ):
        done = run(large_service, *arguments, said=said)
        assert (done.returncode, sentence in " ".join(done.stderr.split())) == (code, True), done.stderr
        assert "Traceback" not in done.stderr


def test_in_a_terminal_the_talk_goes_on_until_it_is_ended(large_service: Service) -> None:
    ours, theirs = pty.openpty()
    command = [AIRSERVE, "chat", "gemma", *STILL, "--state-dir", str(large_service.state_dir)]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env={**os.environ, "TERM": "dumb"})
    os.close(theirs)
    assert "gemma" in _until_asked(ours)
    for said in ("Say hello.", "Say it again."):
        os.write(ours, f"{said}\n".encode())
        assert len(_until_asked(ours).replace(said, "").strip("\r\n> ")) > 1
    os.write(ours, b"\n")
    assert _until_asked(ours).strip() == ">"
    os.write(ours, b"\x04")
    assert process.wait(30) == 0
    os.close(ours)


def _until_asked(terminal: int) -> str:
    """What the terminal shows until it waits for what to say next."""
    shown = ""
    while not shown.endswith("\n> "):
        shown += os.read(terminal, 1).decode("utf-8", "replace")
    return shown


def test_texts_are_compared_or_embedded(large_service: Service) -> None:
    texts = ("how do I pay my bill", "billing question", "the cat sat on the mat")
    table = run(large_service, "embed", "minilm", *texts)
    assert table.returncode == 0, table.stderr
    assert "0.57" in table.stdout
    assert "3 × 384 numbers" in table.stdout
    rows = json.loads(run(large_service, "embed", "minilm", *texts, "--json").stdout)["embeddings"]
    assert [len(row) for row in rows] == [384] * 3
    assert run(large_service, "embed", "minilm").returncode == 2


def test_no_control_character_of_an_answer_reaches_the_terminal() -> None:
    from airserve.cli.chat import _harmless

    assert _harmless("a\x1b[31mb\rc\x9bd\n\te\u200d") == "a[31mbcd\n\te\u200d"
