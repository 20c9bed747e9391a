"""All that an operator can set: `settings.toml` in the state folder < environment `AIRSERVE_*` < flags."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from airserve.core.errors import InvalidInputError

SETTINGS_FILE = "settings.toml"
_PATHS = ("store_dir", "pepper_file", "store_key_file", "invoice_font")


class Settings(BaseSettings):
    """One immutable object; each part of the server is given only what it needs of it."""

    model_config = SettingsConfigDict(env_prefix="AIRSERVE_", frozen=True, extra="ignore")

    state_dir: Path = Field(description="Database, models, journal and keys.")
    database_url: str | None = Field(
        None, description="postgresql://user:password@host/name, which servers can share; SQLite without it."
    )
    store_dir: Path | None = Field(None, description="Folder of the packages, where several servers share it.")
    pepper_file: Path | None = Field(None, description="Secret under which keys are hashed, where servers share it.")
    node_id: str | None = Field(None, description="This server's name in the journal; made at first start without it.")
    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for every network.")
    port: int = Field(8443, ge=0, le=65535, description="The one port, TCP and UDP; 0 for any that is free.")
    tls_cert: Path | None = Field(None, description="Certificate chain, PEM; a development CA is made without it.")
    tls_key: Path | None = Field(None, description="Private key of the certificate, PEM.")
    server_name: str = Field("airserve", description="The name that /v2 answers.")
    max_body_bytes: int = Field(64 << 20, gt=0, description="Largest request body, also after decompression.")
    max_connections_per_address: int = Field(
        2000, gt=0, description="Most connections of HTTP/1.1 from one client address; the machine's own are free."
    )
    queue_capacity: int = Field(1024, gt=0, description="Most calls that wait for one model.")
    default_deadline_ms: int = Field(30_000, gt=0, description="For calls that bring no deadline of their own.")
    model_memory_mb: float | None = Field(
        None, gt=0, description="Most MB of weights in memory at once; idle models give way to those that are called."
    )
    load_models: Literal["start", "first_use"] = Field(
        "start", description="When models are loaded; at the start only as many as model_memory_mb allows."
    )
    replay_seconds: float = Field(
        60.0, ge=0, description="How long answers are kept for retries with the same Airserve-Call-Id."
    )
    replay_cache_mb: float = Field(32.0, ge=0, description="Most MB of such answers; 0 keeps none.")
    held_input_seconds: float = Field(600.0, ge=0, description="How long inputs that came with a digest are kept.")
    held_input_mb: float = Field(64.0, ge=0, description="Most MB of such inputs; 0 keeps none.")
    stream_seconds: float = Field(30.0, ge=0, description="How long a frame of a stream is kept for differences to it.")
    stream_mb: float = Field(64.0, ge=0, description="Most MB of such frames; 0 keeps none: all are key frames.")
    response_cache_seconds: float = Field(
        3600.0, ge=0, description="How long answers of deterministic models are kept for who asks the same again."
    )
    response_cache_mb: float = Field(32.0, ge=0, description="Most MB of such answers; 0 keeps none.")
    device_bundle_mb: float = Field(
        256.0, ge=0, description="Most MB of bundles for devices that are kept in memory once made."
    )
    drain_seconds: float = Field(30.0, ge=0, description="How long a stop waits for accepted calls.")
    durability: Literal["os", "group", "power"] = Field("group", description="What a power cut may lose of usage.")
    trusted_model_keys: tuple[Path, ...] = Field(
        (), description="Public keys, PEM, whose signatures of packages count; a list of files."
    )
    require_signed_models: bool = Field(False, description="Publish and load only packages that a trusted key signed.")
    store_key_file: Path | None = Field(
        None, description="The key under which packages are encrypted; or in the variable AIRSERVE_STORE_KEY."
    )
    kms_command: str | None = Field(
        None, description="A program that wraps and unwraps keys instead: called with id, wrap or unwrap."
    )
    allowed_operator_domains: tuple[str, ...] = Field(
        (), description="Domains of ONNX operators beyond ONNX's own and ONNX Runtime's that graphs may use."
    )
    model_trial_memory_mb: int = Field(
        2048, gt=0, description="What a new ONNX graph may take while it is tried, beside 8 times its size."
    )
    model_trial_seconds: int = Field(120, gt=0, description="Processor time that a new ONNX graph may take for it.")
    model_tensor_mb: int = Field(1024, gt=0, description="Largest tensor whose size an ONNX graph itself fixes.")
    seller: dict[str, str] = Field(
        {}, description="Who invoices are from: name, address, email, tax_id, bank (how to pay)."
    )
    invoice_font: Path | None = Field(None, description="TrueType font of invoices, for scripts beyond the built-in.")
    webhooks_allow_private: bool = Field(
        False, description="Let webhooks go to loopback and private addresses and over http: for tests and intranets."
    )
    payments_url: str = Field("https://api.stripe.com", description="The payment provider, as Stripe's API speaks.")
    payments_key: SecretStr | None = Field(None, description="Its secret key; without one nothing is sent to it.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags first, then the environment, then the file of the state folder."""
        state_dir = init_settings().get("state_dir")
        file = TomlConfigSettingsSource(settings_cls, Path(state_dir) / SETTINGS_FILE) if state_dir else None
        return (init_settings, env_settings, file) if file else (init_settings, env_settings)


def load_settings(state_dir: Path, **flags: Any) -> Settings:
    """The settings in force; flags that are None were not given. Raises `InvalidInputError` naming each bad one."""
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        settings = Settings(state_dir=state_dir.expanduser().resolve(), **given)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInputError(f"settings: {problems}") from None
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise InvalidInputError("settings: tls_cert and tls_key belong together; give both or neither")
    named = {name: _in_state_dir(settings, getattr(settings, name)) for name in _PATHS}
    keys = tuple(settings.state_dir / path.expanduser() for path in settings.trusted_model_keys)
    return settings.model_copy(update={**named, "trusted_model_keys": keys})


def _in_state_dir(settings: Settings, path: Path | None) -> Path | None:
    """A path as the settings give it: relative ones lie in the state folder, wherever the command is run."""
    return None if path is None else settings.state_dir / path.expanduser()
