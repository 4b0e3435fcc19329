"""rin: the helper package behind the pages of the RadImageNet Book.

Importing it touches neither disk nor network and loads no deep-learning backend;
`rin.stats`, `rin.images`, … are imported when first used.
"""

import importlib

__version__ = "0.1.0"


def __getattr__(name):
    if name.startswith("_"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return importlib.import_module(f"{__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{__name__}.{name}":
            raise
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
