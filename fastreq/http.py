"""`fastreq.http.Client`, as aioreq, which fastreq grew out of, spells it."""

from fastreq.client import Client
from fastreq.streaming import StreamClient

__all__ = ["Client", "StreamClient"]
