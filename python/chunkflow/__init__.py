"""Long lists as one HTTP response, put together from cached chunks.

A program makes one `Flow`, and for each request a `Source`: a name, a version, and a function that
gives rows behind a key. `chunkflow.django`, `chunkflow.asgi` and `chunkflow.wsgi` do that for
views of frameworks.
"""

import sysconfig

if sysconfig.get_config_var("Py_GIL_DISABLED"):
    raise ImportError(
        "chunkflow does not run in a free-threaded build of Python yet: install it for one with "
        "the GIL (`python3.13`, not `python3.13t`)"
    )

from chunkflow._native import (
    AllOf,
    AnyOf,
    Change,
    Comparison,
    Cut,
    Fetch,
    Flow,
    Follows,
    Invalid,
    Related,
    Reply,
    Source,
    __version__,
)

__all__ = [
    "AllOf",
    "AnyOf",
    "Change",
    "Comparison",
    "Cut",
    "Fetch",
    "Flow",
    "Follows",
    "Invalid",
    "Related",
    "Reply",
    "Source",
    "__version__",
]
