"""Customers: tenants, projects, members, keys, plans, budgets, and the directory that authenticates them."""

from airserve.accounts.account import Account, BudgetOver
from airserve.accounts.directory import Directory
from airserve.accounts.directory_loading import load_directory
from airserve.accounts.keys import create_key, list_keys, revoke_key
from airserve.accounts.pepper import load_or_create_pepper
from airserve.accounts.principal import Principal
from airserve.accounts.tenants import create_tenant, list_tenants, set_tenant_status

__all__ = [
    "Account",
    "BudgetOver",
    "Directory",
    "Principal",
    "create_key",
    "create_tenant",
    "list_keys",
    "list_tenants",
    "load_directory",
    "load_or_create_pepper",
    "revoke_key",
    "set_tenant_status",
]
