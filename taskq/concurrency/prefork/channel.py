"""The socket pair between the main process and one child.

Every packet is one task or one outcome, read by exactly one reader: that is what lets the main
process take unread tasks back from the child's end of the pair while the child reads from it too.
"""

from __future__ import annotations

import array
import marshal
import mmap
import os
import socket
from typing import Any

from taskq.concurrency.prefork import frames
from taskq.concurrency.prefork.page import shared_file

#: SEQPACKET keeps packets apart and tells of the other end's death; macOS has only DGRAM.
PAIR_TYPE = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_DGRAM)
PAIR_TYPES = (PAIR_TYPE, socket.SOCK_DGRAM)

#: Bytes asked for as send buffer; the kernel doubles it, and counts its own overhead in.
SEND_BUFFER = 212_992

#: Received descriptors must not leak into programs that tasks start.
CLOSE_ON_EXEC = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

#: Room for one descriptor in a control message.
FD_SPACE = socket.CMSG_SPACE(array.array("i").itemsize)

#: Packets are received here. One per process is enough: each is decoded before the next is read.
_buffer = bytearray(frames.BUFFER_SIZE)
_buffers = [_buffer]


def open_pair() -> tuple[socket.socket, socket.socket]:
    """Return the main process's end (non-blocking) and the child's end (blocking)."""
    for kind in PAIR_TYPES:
        try:
            main_end, child_end = socket.socketpair(socket.AF_UNIX, kind)
        except OSError:
            if kind is PAIR_TYPES[-1]:
                raise
            continue
        break
    else:
        raise AssertionError("unreachable: the last kind either works or raises")
    for end in (main_end, child_end):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    main_end.setblocking(False)
    return main_end, child_end


def send_packet(sock: socket.socket, seq: int, packet: bytes) -> None:
    """Send one task packet, through a file when it is large.

    Raises:
        BlockingIOError: the socket is full; the child has unread packets.
    """
    if len(packet) <= frames.INLINE_LIMIT:
        sock.send(packet)
    else:
        _send_in_file(sock, seq, packet)


def _send_in_file(sock: socket.socket, seq: int, packet: bytes) -> None:
    fd = shared_file(0, "taskq-packet")
    try:
        write_all(fd, packet)
        socket.send_fds(sock, [frames.encode_large(seq, len(packet))], [fd])
    finally:
        os.close(fd)


def receive_packet(sock: socket.socket, flags: int = 0) -> tuple[int, int, Any] | None:
    """Return the next task packet as ``(seq, kind, payload)``; None when the other end is gone.

    Raises:
        BlockingIOError: nothing to read, with ``MSG_DONTWAIT`` in ``flags``.
        LostFile: the file of a large packet did not come through.
    """
    size, control, _, _ = sock.recvmsg_into(_buffers, FD_SPACE, flags | CLOSE_ON_EXEC)
    if not size:
        return None
    packet: tuple[int, int, Any] = marshal.loads(_buffer)
    if packet[1] == frames.IN_FILE:
        return _read_file(packet[0], packet[2], control)
    return packet


def steal_seq(sock: socket.socket) -> int | None:
    """Take the oldest unread packet from a child's end; return its number, None if none is left."""
    try:
        size, control, _, _ = sock.recvmsg_into(_buffers, FD_SPACE, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return None
    if not size:
        return None
    for fd in _descriptors(control):
        os.close(fd)
    seq: int = marshal.loads(_buffer)[0]
    return seq


def write_all(fd: int, data: bytes) -> None:
    """Write all of ``data`` to ``fd``."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class LostFile(Exception):
    """A large packet arrived without its file: the process has no descriptor left."""

    def __init__(self, seq: int) -> None:
        super().__init__(
            f"The message of job {seq} could not be received: the process has too many open files"
            " (raise the limit, ulimit -n)."
        )
        self.seq = seq


def _read_file(seq: int, size: int, control: list[Any]) -> tuple[int, int, Any]:
    fds = _descriptors(control)
    if not fds:
        raise LostFile(seq)
    try:
        with mmap.mmap(fds[0], size, prot=mmap.PROT_READ) as content:
            packet: tuple[int, int, Any] = marshal.loads(content)
    finally:
        for fd in fds:
            os.close(fd)
    return packet


def _descriptors(control: list[Any]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)
