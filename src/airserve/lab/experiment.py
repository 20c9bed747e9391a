"""An experiment: links × clients × repeats against one service, as a TOML file describes it."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import msgspec

from airserve.core.errors import InvalidInputError, NotFoundError

DEFAULT_SERVICE = (
    "airserve", "up", "--state-dir", "{state}", "--host", "{address}", "--port", "{port}",
    "--ready-file", "{ready}", "--log-level", "warning",
)  # fmt: skip


class Service(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The command that starts the service in `cloud`, and commands to run before it, such as `airserve publish …`."""

    command: tuple[str, ...] = DEFAULT_SERVICE
    setup: tuple[tuple[str, ...], ...] = ()
    start_seconds: float = 60.0


class Client(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A command to run in `device`; it prints a line a call (see `call_lines`) and ends by itself."""

    name: str
    command: tuple[str, ...]


class Cut(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """In each run, `at` seconds after its start, the network is lost for `seconds`."""

    at: float
    seconds: float


class Experiment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`seconds` is how long each run of a client is to take; a repeat's links are drawn with `seed` + its number."""

    links: tuple[str, ...]
    clients: tuple[Client, ...]
    name: str = "experiment"
    service: Service = Service()
    seconds: float = 20.0
    repeats: int = 1
    seed: int = 0
    cuts: tuple[Cut, ...] = ()


class Source(msgspec.Struct, frozen=True):
    """An experiment and the file it was read from; commands run in the file's folder."""

    experiment: Experiment
    path: Path
    sha256: str


def read_experiment(path: Path) -> Source:
    """Read an experiment. Raises NotFoundError without the file, InvalidInputError with the key that is wrong."""
    if not path.is_file():
        raise NotFoundError(f"There is no file {path}.")
    data = path.read_bytes()
    try:
        experiment = msgspec.convert(tomllib.loads(data.decode()), Experiment)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise InvalidInputError(f"{path.name} is no experiment: {error}.") from None
    check(experiment)
    return Source(experiment, path.resolve(), hashlib.sha256(data).hexdigest())


def check(experiment: Experiment) -> None:
    """Raise InvalidInputError for an experiment that cannot be run."""
    names = [client.name for client in experiment.clients]
    if not experiment.links or not names:
        raise InvalidInputError("An experiment needs at least one link and one client.")
    if len(set(names)) != len(names) or len(set(experiment.links)) != len(experiment.links):
        raise InvalidInputError("Each link and each client's name may stand in an experiment once.")
    if not all(client.command for client in experiment.clients) or not experiment.service.command:
        raise InvalidInputError("A command needs at least one word.")
    if not 0 < experiment.seconds <= 86_400 or not 1 <= experiment.repeats <= 1000 or experiment.seed < 0:
        raise InvalidInputError("seconds must lie above 0, repeats between 1 and 1000, and seed not under 0.")
    if any(cut.at < 0 or cut.seconds <= 0 for cut in experiment.cuts):
        raise InvalidInputError("A cut needs `at` of 0 or more, and `seconds` of more than 0.")


def filled(command: tuple[str, ...], values: dict[str, str]) -> list[str]:
    """Put the values into a command's `{names}`; other braces stay as they are."""
    words = []
    for word in command:
        for name, value in values.items():
            word = word.replace(f"{{{name}}}", value)
        words.append(word)
    return words


def narrowed(experiment: Experiment, links: list[str], clients: list[str]) -> Experiment:
    """Keep only these links and clients; an empty list keeps all. Raises InvalidInputError for one it does not have."""
    names = [client.name for client in experiment.clients]
    for kind, asked, there in (("link", links, list(experiment.links)), ("client", clients, names)):
        unknown = [name for name in asked if name not in there]
        if unknown:
            raise InvalidInputError(f"The experiment has no {kind} '{unknown[0]}'; it has {', '.join(there)}.")
    return msgspec.structs.replace(
        experiment,
        links=tuple(link for link in experiment.links if not links or link in links),
        clients=tuple(client for client in experiment.clients if not clients or client.name in clients),
    )
