"""Models of other frameworks made into packages, one file a source."""

from airserve.models.importers.files import import_file
from airserve.models.importers.imported import Imported, Parity
from airserve.models.importers.upstream import import_upstream

__all__ = ["Imported", "Parity", "import_file", "import_upstream"]
