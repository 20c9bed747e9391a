"""Kill, look, start again: the rounds of the campaign, and what they found."""

from __future__ import annotations

import ast
import contextlib
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from campaign.house import House, event_id
from campaign.load import STREAMS, WORD, WORDS, Load, Place, Transcript
from campaign.services import WHOM, Service

SOURCE = Path(__file__).resolve().parents[1] / "src" / "airserve"
ROUNDS_OF_A_HOUSE = 25
"""A state folder is left after so many kills: the audit looks at all of it after each one."""
CONNECTIONS = 6
_BOOKS = ("archive.", "invoices.", "outbox.", "postings.after_entry", "postings.after_balances")
_ONCE = (
    "archive.", "invoices.amid_credit", "invoices.amid_pay", "journal.after_create", "journal.after_folder_sync",
    "leases.amid_free", "leases.amid_grant", "treasurer.", "unfinished.",
)  # fmt: skip
"""What a process passes once, or once in a while."""


@dataclass
class Findings:
    """What was done with one database, and everything that was wrong."""

    database: str
    kills: Counter[str] = field(default_factory=Counter)
    """By what was killed: a serving process, one that keeps books, services of `airserve up`."""
    under_load: int = 0
    """Kills of processes that had answered calls and had more in flight."""
    hits: Counter[str] = field(default_factory=Counter)
    not_reached: Counter[str] = field(default_factory=Counter)
    answered: int = 0
    recorded: int = 0
    streams: int = 0
    """Streams of which anything came and that were compared with the ledger."""
    ahead: int = 0
    """The most tokens that one of them was charged for beyond those that came."""
    audits: int = 0
    compared: int = 0
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def wrong(self) -> int:
        """How many things were wrong; 0 is what the campaign is for."""
        return len(self.lost) + len(self.twice) + len(self.differs)


class Workers:
    """The process that forks the workers, as a caller sees it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "campaign.workers"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self._stdin, self._stdout = cast(IO[str], self._process.stdin), cast(IO[str], self._process.stdout)

    def ask(self, do: str, house: House, **arguments: Any) -> Any:
        """Give a command and wait for its answer."""
        command = {
            "do": do,
            "state_dir": str(house.state_dir),
            "url": house.url,
            "upstream": house.upstream,
            **arguments,
        }
        self._stdin.write(json.dumps(command) + "\n")
        self._stdin.flush()
        line = self._stdout.readline()
        if not line:
            raise RuntimeError("the workers have ended")
        return json.loads(line)

    def close(self) -> None:
        """End the process; its workers were killed before."""
        self._stdin.close()
        self._process.wait(30)


def crash_points() -> list[str]:
    """The names of all crash points in the source."""
    names: set[str] = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "crash_point":
                names.update(each.value for each in node.args if isinstance(each, ast.Constant))
    return sorted(names)


class Campaign:
    """The rounds over one database. `new_url` gives the URL of an empty one, or None for SQLite."""

    def __init__(self, database: str, new_url: Callable[[], str | None], folder: Path, seed: int) -> None:
        self.findings = Findings(database)
        self._new_url = new_url
        self._folder = folder
        self._chance = random.Random(seed)
        self._workers = Workers()
        self._open = contextlib.ExitStack()
        self._upstream = self._open.enter_context(_upstream())
        self._rounds = 0
        self._house: House
        self._move()

    def close(self) -> None:
        """End what was started."""
        self._workers.close()
        self._open.close()

    def serve_and_kill(self, crash: str | None = None, patience_s: float = 4.0) -> bool:
        """One round with a serving process: at a random moment, or at a crash point. Whether it died there."""
        self._next_round()
        load = self._start(crash)
        if crash is None:
            # Some die while they start; most under load.
            if self._chance.random() < 0.9:
                load.first_answer.wait(10)
            time.sleep(self._chance.uniform(0, 0.1))
            self._workers.ask("kill", self._house)
            reached = False
        else:
            reached = self._died(patience_s)
        load.stop()
        self.findings.kills["serving"] += 1
        self.findings.under_load += load.answers > 0
        self._look(started=load.answers > 0)
        return reached

    def keep_books_and_kill(self, crash: str | None = None, patience_s: float = 4.0) -> bool:
        """One round with a process that posts and archives; there are segments of killed servers to archive."""
        self._next_round()
        # The last segment of a node stays open; those of older starts are for the archive.
        while self._unarchived() < 2:
            load = self._start(None)
            load.first_answer.wait(10)
            self._workers.ask("kill", self._house)
            load.stop()
        self._workers.ask("books", self._house, crash=crash, posted=str(self._posted), run=f"run-{self._rounds}")
        if crash is None:
            time.sleep(self._chance.uniform(0.02, 0.3))
            self._workers.ask("kill", self._house)
            reached = False
        else:
            reached = self._died(patience_s)
        self.findings.kills["books"] += 1
        self._look()
        return reached

    def serve_whole_and_kill(self, crash: str | None = None) -> bool:
        """One round with `airserve up`: its serving process, its supervisor or both; or what is at the crash point."""
        self._next_round()
        service = Service(self._house, crash)
        place = service.place()
        load = self._load(place) if place else None
        reached = False
        if crash is not None:
            reached = service.wait(6.0)
        elif load is not None:
            load.first_answer.wait(10)
            time.sleep(self._chance.uniform(0, 0.3))
        whom = self._chance.choice(WHOM)
        service.kill(whom if crash is None else "both")
        if load is not None:
            load.stop()
            self.findings.under_load += load.answers > 0
        started = load is not None and load.answers > 0
        self.findings.kills[f"airserve up: {whom if crash is None else crash.partition(':')[0]}"] += 1
        self._look(started=started)
        return reached

    def hit(self, name: str, times: int) -> None:
        """Die `times` times at one crash point, at different passes; as many rounds may fail to reach it."""
        round_ = self.keep_books_and_kill if name.startswith(_BOOKS) else self.serve_and_kill
        once = name.startswith(_ONCE)
        hits, missed = self.findings.hits, self.findings.not_reached
        while hits[name] < times and missed[name] < times:
            passes = 1 if once else self._chance.randint(1, 4)
            reached = round_(f"{name}:{passes}")
            (hits if reached else missed)[name] += 1

    def _unarchived(self) -> int:
        return len(list((self._house.state_dir / "journal").glob("*.wal")))

    def _start(self, crash: str | None) -> Load:
        socket = self._house.state_dir.parent / "http.sock"
        socket.unlink(missing_ok=True)
        self._workers.ask("serve", self._house, crash=crash, socket=str(socket))
        return self._load(Place(str(socket)))

    def _load(self, place: Place) -> Load:
        return Load(place, self._key, self._transcript, CONNECTIONS, self._chance.getrandbits(32))

    def _died(self, seconds: float) -> bool:
        status = self._workers.ask("wait", self._house, seconds=seconds)
        if status is None:
            self._workers.ask("kill", self._house)
        return bool(status == signal.SIGKILL)

    def _next_round(self) -> None:
        self._rounds += 1
        if self._rounds % ROUNDS_OF_A_HOUSE == 0:
            self._move()

    def _move(self) -> None:
        """Into a new state folder with a new database."""
        place = Path(tempfile.mkdtemp(dir=self._folder))
        self._house = House(place / "state", self._new_url(), self._upstream.url)
        self._house.state_dir.mkdir(mode=0o700)
        self._key = self._workers.ask("furnish", self._house)
        self._posted = place / "posted"
        self._transcript = Transcript()
        self._counted = 0
        self._begun: set[str] = set()

    def _look(self, *, started: bool = False) -> None:
        """Compare what the clients saw with what the ledger has, id by id, and audit the ledger.

        `started` says that a process has come so far as to answer: it has ended the streams of those before.
        """
        findings = self.findings
        found = self._workers.ask("audit", self._house)
        if found is None:
            findings.differs.append("the audit did not end well")
            return
        if len(found["projects"]) > 1:
            findings.differs.append(f"calls of {len(found['projects'])} projects")
        self._transcript.project_id = "".join(found["projects"][:1])
        compare(findings, self._transcript, found["ids"])
        compare_streams(findings, self._transcript, [*found["streams"], *found["begun"]])
        begun = {each for each, _ in found["begun"]}
        if started:
            findings.differs += [f"{each} was not ended by the next start" for each in sorted(begun & self._begun)]
        self._begun = begun
        posted = Counter(found["posted"])
        said = self._posted.read_text().splitlines() if self._posted.exists() else []
        findings.lost += [f"posting {each}" for each in said if each not in posted]
        findings.twice += [f"posting {each}" for each, times in posted.items() if times > 1]
        findings.differs += found["differs"]
        findings.audits += 1
        findings.compared += found["compared"]
        findings.recorded += len(found["ids"]) - self._counted
        self._counted = len(found["ids"])


@contextlib.contextmanager
def _upstream() -> Iterator[Any]:
    """A server that makes `WORDS` words, one after the other: what is behind the model that streams."""
    from tests.openai_for_tests import upstream_server

    with upstream_server() as upstream:
        upstream.words, upstream.delay_s, upstream.usage = (WORD,) * WORDS, 0.002, False
        yield upstream


def compare(findings: Findings, transcript: Transcript, ids: list[str]) -> None:
    """Every answered call is in the ledger; nothing is there that nobody sent, and no call is there twice."""
    tenants = {each.partition("/")[0] for each in ids}
    counted = Counter(ids)
    if transcript.answered and len(tenants) != 1:
        findings.differs.append(f"calls of {len(tenants)} tenants")
        return
    (tenant_id,) = tenants or {""}
    answered = {event_id(tenant_id, transcript.project_id, call_id): call_id for call_id in transcript.answered}
    findings.lost += [call_id for each, call_id in answered.items() if each not in counted]
    sent = {event_id(tenant_id, transcript.project_id, call_id) for call_id in transcript.sent}
    findings.twice += [each for each, times in counted.items() if times > 1 or each not in sent]
    findings.answered += len(transcript.answered) - transcript.counted
    transcript.counted = len(transcript.answered)


def compare_streams(findings: Findings, transcript: Transcript, charged: Sequence[Sequence[Any]]) -> None:
    """Every word that came is charged, no stream is charged twice, or for more than it could have."""
    tokens: dict[str, list[int]] = defaultdict(list)
    for row_id, count in charged:
        tenant_id, call_id = row_id.split("/")[:2]
        tokens[f"{tenant_id}/{call_id}"].append(count)
    tenants = {each.partition("/")[0] for each in tokens}
    sent = {
        event_id(tenant_id, transcript.project_id, call_id, STREAMS)
        for tenant_id in tenants
        for call_id in transcript.streams
    }
    findings.twice += [each for each, counts in tokens.items() if len(counts) > 1 or each not in sent]
    came = {call_id: words for call_id, words in transcript.streams.items() if words is not None}
    for call_id, words in came.items():
        counts = [
            count
            for each in tenants
            for count in tokens.get(event_id(each, transcript.project_id, call_id, STREAMS), [])
        ]
        if not words <= sum(counts) <= WORDS or not counts:
            findings.lost.append(f"{call_id}: {words} words came, {counts} were charged")
        findings.ahead = max(findings.ahead, sum(counts) - words)
    findings.streams += len(came) - transcript.counted_streams
    transcript.counted_streams = len(came)
