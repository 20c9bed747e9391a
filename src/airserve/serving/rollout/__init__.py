"""A new version in front of a part of the callers: who is led to it, how it is watched, when it goes on or back."""
