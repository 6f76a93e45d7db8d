"""Many requests, and large ones: `Client.map` and `Client.download`."""
