"""Long lists in Django: a view of one line, served from cached chunks.

from chunkflow.django import stream

async def trick_list(request):
    tricks = Trick.objects.filter(organisation=request.organisation)
    return await stream(request, tricks, serialize)
"""

from .code import SerializerError
from .managers import ChangesManager, ChangesQuerySet
from .middleware import ChunkflowMiddleware
from .serializer import Links

# These functions hide the modules of the same names, so they are imported here and not later.
from .stream import stream, stream_sync
from .values import OrderError
from .watch import changed, watch

__all__ = [
    "ChangesManager",
    "ChangesQuerySet",
    "ChunkflowMiddleware",
    "Links",
    "OrderError",
    "SerializerError",
    "changed",
    "stream",
    "stream_sync",
    "watch",
]
