"""Usage is money: the journal of each node, the ledger it is folded into, prices and the usage report."""

from airserve.metering.event import Outcome, UsageEvent
from airserve.metering.journal import Durability, Journal
from airserve.metering.ledger import FoldResult, fold, last_epoch, ledger_id
from airserve.metering.prices import Price, PriceBook, amount_nano, load_prices, set_price

__all__ = [
    "Durability",
    "FoldResult",
    "Journal",
    "Outcome",
    "Price",
    "PriceBook",
    "UsageEvent",
    "amount_nano",
    "fold",
    "last_epoch",
    "ledger_id",
    "load_prices",
    "set_price",
]
