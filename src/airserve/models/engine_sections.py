"""What makes no sense in `[python]`, `[upstream]`, `[language]` and `[sealed]`."""

from __future__ import annotations

import re
from collections.abc import Sequence

from airserve.engines.options import Language, Python, Sealed, Upstream

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_URL = re.compile(r"https?://[^\s/?#@]+[^\s?#@]*")
_MAX_WORKERS = 64
_MAX_RETRIES = 10
_MAX_SLOTS = 1024
_MAX_CONTEXT = 1 << 24
_MAX_ENGINE_SLOTS = 256


def python_problems(engine: str, section: Python | None, files: Sequence[str]) -> list[str]:
    """What is wrong with the section and with `files`, the code of each variant; a sentence each."""
    if engine != "python":
        return [] if section is None else ["[python] is for the engine 'python'"]
    section = section or Python()
    problems = [f"a model in Python is a .py file, not {file}" for file in files if not file.endswith(".py")]
    if section.timeout_ms <= 0 or section.load_timeout_ms <= 0 or (section.memory_mb or 1) <= 0:
        problems.append("[python] timeout_ms, load_timeout_ms and memory_mb are more than 0")
    if not 1 <= section.workers <= _MAX_WORKERS:
        problems.append(f"[python] workers is 1 to {_MAX_WORKERS}")
    if not section.attribute.isidentifier():
        problems.append("[python] attribute is the name of a class")
    strange = [name for name in section.environment if not _VARIABLE.fullmatch(name)]
    return problems + [f"[python] environment: '{name[:80]}' is no name of a variable" for name in strange]


def upstream_problems(engine: str, section: Upstream | None) -> list[str]:
    """What is wrong with the section; a sentence each."""
    if engine != "openai":
        return [] if section is None else ["[upstream] is for the engine 'openai'"]
    if section is None:
        return ["the engine 'openai' needs a section [upstream] with url and model"]
    problems = []
    if not _URL.fullmatch(section.url):
        problems.append("[upstream] url is http:// or https://, a host and a path, with no user, key or query in it")
    if not section.model:
        problems.append("[upstream] model is what the other server calls it")
    if section.key_variable is not None and not _VARIABLE.fullmatch(section.key_variable):
        problems.append("[upstream] key_variable is the name of an environment variable, never the key itself")
    if section.connect_timeout_ms <= 0 or section.silence_timeout_ms <= 0:
        problems.append("[upstream] connect_timeout_ms and silence_timeout_ms are more than 0")
    if not 0 <= section.retries <= _MAX_RETRIES or not 1 <= section.slots <= _MAX_SLOTS:
        problems.append(f"[upstream] retries is 0 to {_MAX_RETRIES}, slots 1 to {_MAX_SLOTS}")
    return problems


def language_problems(engine: str, section: Language | None) -> list[str]:
    """What is wrong with the section; a sentence each."""
    if engine != "llama":
        return [] if section is None else ["[language] is for the engine 'llama'"]
    if section is None:
        return []
    problems = []
    if not 1 <= section.context <= _MAX_CONTEXT:
        problems.append(f"[language] context is 1 to {_MAX_CONTEXT} tokens")
    if not 1 <= section.slots <= _MAX_ENGINE_SLOTS:
        problems.append(f"[language] slots is 1 to {_MAX_ENGINE_SLOTS}")
    return problems


def sealed_problems(engine: str, section: Sealed | None) -> list[str]:
    """What is wrong with the section; a sentence each."""
    if section is None:
        return []
    if engine != "onnx":
        return [f"[sealed] is for the engine 'onnx', also with [vision] or [text], not for '{engine}'"]
    problems = []
    if section.rotate_s <= 0 or section.overlap_s < 0:
        problems.append("[sealed] rotate_s is more than 0, overlap_s 0 or more, in seconds")
    if section.replay_entries < 1:
        problems.append("[sealed] replay_entries is 1 or more")
    if section.timeout_ms <= 0 or section.load_timeout_ms <= 0:
        problems.append("[sealed] timeout_ms and load_timeout_ms are more than 0")
    return problems
