"""Check an export of the books without trusting who made it: journal = events = entries = balances = invoices.

    airserve audit --export books && python examples/verify_usage.py books

It needs Python alone and shares no code with Airserve. Every amount is computed again from the frames of the journal
and the prices. It prints what does not fit, and ends with 1; else with 0. `--digest` compares the SHA-256 of the
export's SHA256SUMS with one that you were given elsewhere: that detects a change of anything, also of notes and times.
"""

from __future__ import annotations

import argparse
import base64
import datetime as dt
import hashlib
import json
import struct
import sys
import zlib
from collections import Counter, defaultdict
from pathlib import Path

FIELDS = (
    "id", "tenant_id", "key_id", "model", "version", "price_id", "outcome", "rows", "bytes_in", "bytes_out",
    "compute_ns", "amount_nano", "currency", "admitted_ns", "input_tokens", "cached_tokens", "output_tokens",
    "project_id", "cap_nano",
)  # fmt: skip
NO_DIGITS = (
    "BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF",
    "XPF",
)  # fmt: skip
THREE_DIGITS = ("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND")
MINOR_DIGITS = dict.fromkeys(NO_DIGITS, 0)
MINOR_DIGITS |= dict.fromkeys(THREE_DIGITS, 3)


def unpack(data: bytes, at: int = 0) -> tuple[object, int]:
    """One MessagePack value (arrays, texts and integers: all that an event has), and where it ends."""
    kind = data[at]
    if kind <= 0x7F:
        return kind, at + 1
    if kind & 0xE0 == 0xA0 or kind in (0xD9, 0xDA):
        width = {0xD9: 1, 0xDA: 2}.get(kind, 0)
        size = int.from_bytes(data[at + 1 : at + 1 + width], "big") if width else kind & 0x1F
        start = at + 1 + width
        return data[start : start + size].decode(), start + size
    if 0xCC <= kind <= 0xCF:
        width = 1 << (kind - 0xCC)
        return int.from_bytes(data[at + 1 : at + 1 + width], "big"), at + 1 + width
    if kind & 0xF0 == 0x90 or kind == 0xDC:
        count, at = (kind & 0x0F, at + 1) if kind != 0xDC else (int.from_bytes(data[at + 1 : at + 3], "big"), at + 3)
        values = []
        for _ in range(count):
            value, at = unpack(data, at)
            values.append(value)
        return values, at
    raise ValueError(f"byte {kind:#x} begins no value of an event")


def frames(data: bytes):
    """Number and event of each sound frame of whole batches; stops at the first byte that does not fit."""
    at, batch = 0, []
    while at + 17 <= len(data):
        length, crc, number, kind = struct.unpack_from("<IIQB", data, at)
        end = at + 17 + length
        if end > len(data) or zlib.crc32(data[at + 8 : end], length) != crc:
            return
        batch.append((number, unpack(data, at + 17)[0]))
        at = end
        if kind == 2:
            yield from batch
            batch = []


def read(folder: Path, table: str) -> list[dict]:
    return [json.loads(line) for line in (folder / f"{table}.jsonl").read_text().splitlines()]


def repeated(folder: Path):
    for path in sorted(folder.glob("*.jsonl")):
        lines = path.read_text().splitlines()
        if len(set(lines)) != len(lines):
            yield f"{path.name} has a row twice"


def ledger_id(event: dict) -> str:
    end = {"ok": "", "partial": f"/partial/{event['admitted_ns']}"}.get(event["outcome"], f"/{event['outcome']}")
    return f"{event['tenant_id']}/{event['id']}{end}"


def amount(event: dict, price: dict) -> int:
    """What the call costs: whole nano-units, half up, once; never more than its cap."""
    if event["outcome"] not in ("ok", "partial"):
        return 0
    millionths = (
        price["per_million_input_tokens_nano"] * (event["input_tokens"] - event["cached_tokens"])
        + price["per_million_cached_tokens_nano"] * event["cached_tokens"]
        + price["per_million_output_tokens_nano"] * event["output_tokens"]
    )
    nano = 0
    if event["outcome"] == "ok":
        nano = price["per_call_nano"]
        millionths += price["per_megabyte_nano"] * (event["bytes_in"] + event["bytes_out"])
    seconds = price["per_compute_second_nano"] * event["compute_ns"] * (event["outcome"] == "ok")
    nano += (seconds + millionths * 1000 + 500_000_000) // 1_000_000_000
    return min(nano, event["cap_nano"]) if event["cap_nano"] else nano


def month(ns: int) -> str:
    return dt.datetime.fromtimestamp(ns // 10**9, dt.UTC).strftime("%Y-%m")


def journal_problems(folder: Path, rows: list[dict], marks: list[dict]):
    """The journals and the events of the ledger are the same, each call once.

    A stream is recorded while it runs ("progress"); its end takes the place of that. What has no end yet is noted.
    """
    begun = {}
    segments = defaultdict(list)
    for path in (folder / "journal").glob("*.wal"):
        node, epoch, _ = path.name.removesuffix(".wal").rsplit("-", 2)
        segments[node, int(epoch)].append(path.read_bytes())
    at = {(row["node_id"], row["epoch"], row["lsn"]): row for row in rows}
    ids = Counter(row["id"] for row in rows)
    yield from (f"{each} is there {times} times" for each, times in ids.items() if times > 1)
    if len(at) != len(rows):
        yield "two events are at one place of the journal"
    seen = set()
    read_to = {(mark["node_id"], mark["epoch"]): mark["lsn"] for mark in marks}
    for (node, epoch), last in sorted(read_to.items()):
        found = {}
        for data in segments[node, epoch]:
            try:
                found.update({number: event for number, event in frames(data) if number <= last})
            except (ValueError, IndexError) as error:
                yield f"{node}-{epoch}: {error}"
        if sorted(found) != list(range(1, last + 1)):
            yield f"{node}-{epoch}: the journal has {len(found)} sound frames of {last}"
        for number, values in sorted(found.items()):
            event = (
                dict.fromkeys(FIELDS[14:17], 0)
                | {"project_id": "", "cap_nano": 0}
                | dict(zip(FIELDS, values, strict=False))
            )
            row = at.get((node, epoch, number))
            stream = (node, f"{event['tenant_id']}/{event['id']}/{event['admitted_ns']}")
            begun.pop(stream, None)
            if event["outcome"] == "progress" and row is None:
                begun[stream] = values
                continue
            if row is None:
                if ledger_id(event) not in ids:
                    yield f"{ledger_id(event)} was recorded and is not in the ledger"
                continue
            seen.add((node, epoch, number))
            for name in FIELDS:
                expected = ledger_id(event) if name == "id" else event[name]
                if row[name] != expected:
                    yield f"{row['id']}: {name} is {row[name]}, recorded was {expected}"
    yield from (f"{at[place]['id']} is in no journal" for place in at.keys() - seen)
    noted = {
        (each["node_id"], each["id"]): unpack(base64.b64decode(each["event"]))[0]
        for each in read(folder, "unfinished_calls")
    }
    for node, stream in begun.keys() | noted.keys():
        if noted.get((node, stream)) != begun.get((node, stream)):
            yield f"the stream {stream} of {node} has begun and not ended, and is not noted so"


def entry_problems(rows: list[dict], prices: list[dict], entries: list[dict], accounts: list[dict]):
    """Each call costs what its price says and has one entry; what is reversed is reversed once, whole."""
    of = {price["id"]: price for price in prices}
    if len(of) != len(prices):
        yield "two prices have one number"
    free = defaultdict(int)
    name = {each["id"]: (each["code"], each["tenant_id"], each["currency"]) for each in accounts}
    if len(name) != len(accounts) or len(set(name.values())) != len(accounts):
        yield "an account is there twice"
    posted = Counter((each["event_id"], each["kind"]) for each in entries if each["event_id"] is not None)
    yield from (f"{event} was posted {n} times as {kind}" for (event, kind), n in posted.items() if n > 1)
    usage = {each["event_id"]: each for each in entries if each["kind"] == "usage"}
    for row in rows:
        if row["price_id"] and row["price_id"] not in of:
            yield f"{row['id']}: there is no price {row['price_id']}"
            continue
        cost = amount(row, of.get(row["price_id"], free))
        if cost != row["amount_nano"]:
            yield f"{row['id']} costs {cost} by its price and was charged {row['amount_nano']}"
        entry = usage.pop(row["id"], None)
        if cost and entry is None:
            yield f"{row['id']} has no entry"
        elif entry is not None:
            given = tuple(entry[key] for key in ("amount_nano", "currency", "price_id", "tenant_id", "service_period"))
            if given != (cost, row["currency"], row["price_id"], row["tenant_id"], month(row["admitted_ns"])):
                yield f"entry {entry['id']} is not what {row['id']} costs"
            if entry["period"] < entry["service_period"]:
                yield f"entry {entry['id']} is billed before the call"
            sides = name.get(entry["debit_id"]), name.get(entry["credit_id"])
            if sides != (("receivable", row["tenant_id"], row["currency"]), ("revenue", "", row["currency"])):
                yield f"entry {entry['id']} moves money between the wrong accounts"
    yield from (f"entry {each['id']} is of a call that is not there" for each in usage.values())
    by_id = {each["id"]: each for each in entries}
    if len(by_id) != len(entries):
        yield "two entries have one number"
    reversed_ = Counter(each["reverses"] for each in entries if each["reverses"] is not None)
    yield from (f"entry {each} was reversed {n} times" for each, n in reversed_.items() if n > 1)
    for each in entries:
        if {name.get(each[side], (0, 0, 0))[2] for side in ("debit_id", "credit_id")} != {each["currency"]}:
            yield f"entry {each['id']} is not in the currency of its accounts"
        if (each["kind"] == "reversal") != (each["reverses"] is not None):
            yield f"entry {each['id']} reverses nothing"
        other = by_id.get(each["reverses"]) if each["reverses"] is not None else None
        if each["reverses"] is not None and (
            other is None
            or (other["debit_id"], other["credit_id"], other["amount_nano"])
            != (each["credit_id"], each["debit_id"], each["amount_nano"])
        ):
            yield f"entry {each['id']} is not the opposite of entry {each['reverses']}"


def balance_problems(entries: list[dict], balances: list[dict]):
    sums = defaultdict(lambda: [0, 0])
    for each in entries:
        sums[each["debit_id"], each["period"]][0] += each["amount_nano"]
        sums[each["credit_id"], each["period"]][1] += each["amount_nano"]
    kept = {(each["account_id"], each["period"]): [each["debits_nano"], each["credits_nano"]] for each in balances}
    for key in sums.keys() | kept.keys():
        if kept.get(key) != sums.get(key):
            yield f"account {key[0]} in {key[1]}: the entries say {sums.get(key)}, its balance {kept.get(key)}"
    if len(kept) != len(balances):
        yield "a balance is there twice"


def invoice_problems(folder: Path, entries: list[dict], accounts: list[dict]):
    """The documents are what was issued, and their lines and taxes what the ledger was told."""
    owed = {each["id"] for each in accounts if each["code"] == "receivable"}
    lines = defaultdict(list)
    for line in read(folder, "invoice_lines"):
        lines[line["invoice_id"]].append(line)
    for each in read(folder, "invoices"):
        if hashlib.sha256(each["document"].encode()).hexdigest() != each["sha256"]:
            yield f"{each['id']}: the document is not what was issued"
        if each["net_minor"] + each["tax_minor"] != each["total_minor"]:
            yield f"{each['id']}: net and tax are not the total"
        mine = [line for line in lines.pop(each["id"], []) if each["kind"] == "credit_note" or not of_usage(line)]
        expected = sum(line["amount_nano"] for line in mine)
        expected += each["tax_minor"] * 10 ** (9 - MINOR_DIGITS.get(each["currency"], 2))
        told = sum(
            (entry["debit_id"] in owed) * entry["amount_nano"] - (entry["credit_id"] in owed) * entry["amount_nano"]
            for entry in entries
            if entry["invoice_id"] == each["id"] and entry["kind"] != "payment"
        )
        if expected != told:
            yield f"{each['id']}: its lines say {expected} nano-units, the ledger {told}"
    yield from (f"lines of an invoice {each} that is not there" for each in lines)


def of_usage(line: dict) -> bool:
    return line["kind"] in ("usage", "charged", "call_rounding")


def closed_problems(folder: Path, entries: list[dict]):
    for closed in read(folder, "closed_periods"):
        for each in entries:
            late = each["tenant_id"] == closed["tenant_id"] and each["id"] > closed["last_entry_id"]
            if late and each["period"] <= closed["period"]:
                yield f"entry {each['id']} came to {each['period']} after it was closed"


def problems(folder: Path) -> list[str]:
    """Everything in the export that does not fit."""
    rows, entries, accounts = (read(folder, name) for name in ("usage_events", "ledger_entries", "ledger_accounts"))
    return [
        *repeated(folder),
        *journal_problems(folder, rows, read(folder, "journal_marks")),
        *entry_problems(rows, read(folder, "prices"), entries, accounts),
        *balance_problems(entries, read(folder, "ledger_balances")),
        *invoice_problems(folder, entries, accounts),
        *closed_problems(folder, entries),
    ]


def sum_problems(folder: Path, digest: str | None) -> list[str]:
    """Files that are not what SHA256SUMS says, and SHA256SUMS where it is not what was published."""
    text = (folder / "SHA256SUMS").read_bytes()
    found = [] if digest in (None, hashlib.sha256(text).hexdigest()) else ["SHA256SUMS is not what was published"]
    for line in text.decode().splitlines():
        expected, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != expected:
            found.append(f"{name} was changed")
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--digest", help="the SHA-256 of SHA256SUMS, as it was published")
    arguments = parser.parse_args()
    found = sum_problems(arguments.folder, arguments.digest) + problems(arguments.folder)
    for each in found:
        print(each)
    print(f"{len(found)} problems" if found else "all of it fits")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
