"""What can go wrong, and how to tell one from the other.

Run `python examples/timeouts_and_errors.py [BASE_URL]`; by default it starts a server of its own.
"""

import sys

import fastreq
from fastreq.testing import Server


async def main(base_url: str) -> None:
    timeout = fastreq.Timeout(connect=2, read=0.2)
    async with fastreq.Client(timeout=timeout) as client:
        for url in [
            f"{base_url}/hello",
            f"{base_url}/status/404",
            f"{base_url}/delay/1",
            "http://127.0.0.1:1",
            "no URL at all",
        ]:
            await fetch(client, url)

        # One request may have more time than the others.
        response = await client.get(f"{base_url}/delay/0.5", timeout=fastreq.Timeout(read=5))
        print("patient:", response)


async def fetch(client: fastreq.Client, url: str) -> None:
    try:
        response = await client.get(url)
        response.raise_for_status()
    except fastreq.TimeoutException as error:
        print("too slow, in the phase", repr(error.phase), "-", error)
    except fastreq.TransportError as error:
        print("not reached:", error)
    except fastreq.HTTPStatusError as error:
        print("refused with", error.response.status)
    except fastreq.FastreqError as error:
        print(f"{type(error).__name__}:", error)
    else:
        print("fine:", response.text)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fastreq.run(main(sys.argv[1]))
    else:
        with Server() as server:
            fastreq.run(main(server.url))
