"""Usage is money: the journal of each node, the ledger it is folded into, prices and the usage report."""
