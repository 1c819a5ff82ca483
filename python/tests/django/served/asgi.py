"""For uvicorn and Daphne."""

from django.core.asgi import get_asgi_application

from chunkflow.asgi import cut_off

application = cut_off(get_asgi_application())
