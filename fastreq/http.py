"""`fastreq.http.Client`, as the seed's README writes it."""

from fastreq.client import Client
from fastreq.streaming import StreamClient

__all__ = ["Client", "StreamClient"]
