"""A wire that loses, doubles, swaps and forges packets, in a network of its own.

    unshare --map-root-user --net python …          # a network that nobody else is in
        with Wire(rng) as wire:
            wire.loss = 0.05
            # What listens at HERE answers at THERE: each packet between the two is in our hands.

The kernel's own TCP runs over a TUN device, whose other end is this. It writes each packet back
with source and destination swapped, which leaves the checksums as they are: so one network is
enough, and no tool is needed to set it up.
"""

import fcntl
import os
import random
import select
import socket
import struct
import threading

HERE = "10.9.0.1"
THERE = "10.9.0.2"

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
SIOCSIFADDR, SIOCSIFNETMASK, SIOCGIFFLAGS, SIOCSIFFLAGS = 0x8916, 0x891C, 0x8913, 0x8914
IFF_UP = 0x1
NAME = b"wire0"

TCP = 6
RST = 0x04


class Wire:
    """Open only in a network of one's own. The chances may be set at any time."""

    def __init__(self, rng: random.Random) -> None:
        self.loss = 0.0  # chances, for each packet
        self.doubled = 0.0
        self.swapped = 0.0  # with the packet after it
        self.reset = 0.0  # made into a RST
        self.lost = 0
        self.forged = 0
        self._rng = rng
        self._held: bytes | None = None
        self._wake, self._over = os.pipe()
        self._device = -1
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Wire":
        self._device = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(self._device, TUNSETIFF, struct.pack("16sH22x", NAME, IFF_TUN | IFF_NO_PI))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            for request, address in ((SIOCSIFADDR, HERE), (SIOCSIFNETMASK, "255.255.255.0")):
                sockaddr = struct.pack("HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))
                fcntl.ioctl(control, request, struct.pack("16s16s8x", NAME, sockaddr))
            self._bring_up(control, NAME)
            self._bring_up(control, b"lo")
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        os.close(self._over)
        self._thread.join()
        os.close(self._wake)
        os.close(self._device)

    def _bring_up(self, control: socket.socket, name: bytes) -> None:
        got = fcntl.ioctl(control, SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
        (flags,) = struct.unpack_from("H", got, 16)
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | IFF_UP))

    def _run(self) -> None:
        """Carry packets until the other end of the pipe is closed."""
        while True:
            # What is held back goes on when nothing comes after it.
            ready, _, _ = select.select([self._device, self._wake], [], [], 0.01)
            if self._wake in ready:
                return
            if ready:
                self._carry(os.read(self._device, 2**16))
            elif self._held is not None:
                self._let_go()

    def _carry(self, packet: bytes) -> None:
        chance = self._rng.random
        if packet[0] >> 4 != 4:
            return
        if chance() < self.loss:
            self.lost += 1
            return
        packet = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
        if chance() < self.reset and packet[9] == TCP:
            packet = forged(packet)
            self.forged += 1
        if self._held is None and chance() < self.swapped:
            self._held = packet
            return
        os.write(self._device, packet)
        if self._held is not None:
            self._let_go()
        if chance() < self.doubled:
            os.write(self._device, packet)

    def _let_go(self) -> None:
        assert self._held is not None
        os.write(self._device, self._held)
        self._held = None


def forged(packet: bytes) -> bytes:
    """The packet as a RST: its flag set, and the checksum mended (RFC 1624, equation 3)."""
    at = (packet[0] & 0x0F) * 4
    (old,) = struct.unpack_from("!H", packet, at + 12)
    (checksum,) = struct.unpack_from("!H", packet, at + 16)
    new = old | RST
    total = (~checksum & 0xFFFF) + (~old & 0xFFFF) + new
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    made = bytearray(packet)
    struct.pack_into("!H", made, at + 12, new)
    struct.pack_into("!H", made, at + 16, ~total & 0xFFFF)
    return bytes(made)
