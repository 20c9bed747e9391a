"""Invoices and credit notes: drafted from the ledger, issued once, never changed."""
