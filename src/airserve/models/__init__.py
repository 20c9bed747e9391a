"""The model package: manifest, import, store, catalog (versions, aliases)."""
