"""resight: fine-tune CLIP to recognise the same individual again, from a picture or from words.

Names are loaded when first used, so that `import resight` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resight.data.index import read as read_data
    from resight.encoder import Encoder
    from resight.errors import CheckpointError, ConfigError, DataError, ResightError
    from resight.opening import open_embedder
    from resight.queries import Query, text_query
    from resight.types import Embeddings, Record, Splits

__version__ = "0.1.0.dev0"

_HOME = {
    "CheckpointError": "resight.errors",
    "ConfigError": "resight.errors",
    "DataError": "resight.errors",
    "Embeddings": "resight.types",
    "Encoder": "resight.encoder",
    "Query": "resight.queries",
    "Record": "resight.types",
    "ResightError": "resight.errors",
    "Splits": "resight.types",
    "open_embedder": "resight.opening",
    "read_data": "resight.data.index",
    "text_query": "resight.queries",
}

__all__ = [
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Embeddings",
    "Encoder",
    "Query",
    "Record",
    "ResightError",
    "Splits",
    "open_embedder",
    "read_data",
    "text_query",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'resight' has no attribute '{name}'")
    module = importlib.import_module(_HOME[name])
    return getattr(module, "read" if name == "read_data" else name)
