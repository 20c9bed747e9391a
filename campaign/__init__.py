"""The campaign: processes that serve real calls are killed again and again; nothing is lost or counted twice.

    python -m campaign --database both --kills 1000 --write docs/reliability.md

Clients remember of which calls they have received any byte of an answer. After each kill the journal is folded, each of
those calls is looked for in the ledger by its id, and the audit recomputes all that there is.
"""
