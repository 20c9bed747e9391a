"""`airserve chat`: talk with a published model; its answer comes word by word."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from airserve.cli.output import AsJson, console, error_console, print_json
from airserve.cli.service import Ca, Http, HttpVersion, Key, OwnStateDir, TimeoutMs, Url, connect
from airserve.core.errors import AirserveError, InvalidInputError

if TYPE_CHECKING:
    from airserve.client import ChatReply, Client

Messages = list[dict[str, Any]]


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command("chat")(chat)


def chat(
    model: Annotated[str, typer.Argument(help="The model's name.")],
    prompt: Annotated[
        str | None, typer.Argument(help="What to say; standard input, or a conversation, without.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="What the model should be.")] = None,
    temperature: Annotated[float | None, typer.Option(help="0 always takes the likeliest word.")] = None,
    max_tokens: Annotated[int | None, typer.Option(help="Most tokens of an answer.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Where chance begins; the same gives the same answer, mostly.")
    ] = None,
    url: Url = None,
    key: Key = None,
    ca: Ca = None,
    state_dir: OwnStateDir = None,
    http: HttpVersion = Http.auto,
    timeout_ms: TimeoutMs = None,
    as_json: AsJson = False,
) -> None:
    """Talk with a model.

    Example: `airserve chat gemma "Why is the sky blue?"` · `airserve chat gemma < letter.txt` · `airserve chat gemma`
    """
    messages: Messages = [] if system is None else [{"role": "system", "content": system}]
    sampling = {"temperature": temperature, "max_tokens": max_tokens, "seed": seed}
    parameters: dict[str, Any] = {name: value for name, value in sampling.items() if value is not None}
    with connect(url, key, ca, state_dir, http, timeout_ms) as client:
        if prompt is None and sys.stdin.isatty() and not as_json:
            _converse(client, model, messages, parameters)
            return
        prompt = sys.stdin.read() if prompt is None else prompt
        if not prompt.strip():
            raise InvalidInputError("there is nothing to say; give a prompt, or pipe one in")
        messages.append({"role": "user", "content": prompt})
        if as_json:
            reply = client.chat(model, messages, **parameters)
            print_json({"text": reply.text, "finish_reason": reply.finish_reason, "usage": asdict(reply.usage)})
        else:
            _answer(client, model, messages, parameters)


def _converse(client: Client, model: str, messages: Messages, parameters: dict[str, Any]) -> None:
    """Turn by turn until Ctrl-D; Ctrl-C cuts an answer short. A refused turn is forgotten, the talk goes on."""
    console.print(f"[dim]{model}: Ctrl-C stops an answer, Ctrl-D ends[/]", highlight=False)
    for said in _turns():
        messages.append({"role": "user", "content": said})
        try:
            reply = _answer(client, model, messages, parameters)
            messages.append({"role": "assistant", "content": reply.text})
        except AirserveError as error:
            messages.pop()
            error_console.print(f"[bold red]error[/]: {error.message}", highlight=False, soft_wrap=True)


def _turns() -> Iterator[str]:
    """What the person says, without empty lines."""
    while True:
        try:
            said = console.input("[bold]> [/]").strip()
        except (EOFError, KeyboardInterrupt):
            console.print()
            return
        if said:
            yield said


def _answer(client: Client, model: str, messages: Messages, parameters: dict[str, Any]) -> ChatReply:
    """Print an answer as it comes."""
    with client.chat(model, messages, stream=True, **parameters) as stream:
        try:
            for text in stream:
                sys.stdout.write(_harmless(text))
                sys.stdout.flush()
        except KeyboardInterrupt:
            if not sys.stdin.isatty():
                raise
        sys.stdout.write("\n")
    return stream.reply


def _harmless(text: str) -> str:
    """Without control characters: what a model says must not steer the terminal."""
    return "".join(char for char in text if char in "\n\t" or unicodedata.category(char) != "Cc")
