"""`/control`: what the command line does on the state folder, over HTTP, for operators and members of tenants."""

from airserve.server.apis.control.api import ControlApi

__all__ = ["ControlApi"]
