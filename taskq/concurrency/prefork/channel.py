"""The socket pair between the main process and one child.

Every packet is one task or one outcome, read by exactly one reader: that is what lets the main
process take unread tasks back from the child's end of the pair while the child reads from it too.
"""

from __future__ import annotations

import array
import marshal
import os
import socket
from typing import Any

from taskq.concurrency.prefork import frames
from taskq.concurrency.prefork.bodies import read_body
from taskq.utils.sharedfile import shared_file

#: SEQPACKET keeps packets apart and tells of the other end's death; macOS has only DGRAM.
PAIR_TYPE = getattr(socket, "SOCK_SEQPACKET", socket.SOCK_DGRAM)
#: Seconds after which a child looks whether its main process lives, where the socket can't tell.
ORPHAN_CHECK = 5.0

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
    try:
        main_end, child_end = socket.socketpair(socket.AF_UNIX, PAIR_TYPE)
    except OSError:
        # The constant exists on systems that lack the type.
        main_end, child_end = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for end in (main_end, child_end):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
    main_end.setblocking(False)
    return main_end, child_end


def enter_child(child_end: socket.socket) -> bool:
    """Prepare a child's end for its process; return whether it tells when the other end is gone.

    Where it doesn't, receiving gives up from time to time, and sending to a dead main process
    would throw away what is still to be read.
    """
    if child_end.type == socket.SOCK_DGRAM:
        child_end.settimeout(ORPHAN_CHECK)
        return False
    return True


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


def send_with_body(sock: socket.socket, packet: bytes, body_fd: int) -> None:
    """Send one task packet whose body is in the file ``body_fd``.

    Raises:
        BlockingIOError: the socket is full; the child has unread packets.
    """
    socket.send_fds(sock, [packet], [body_fd])


def receive_packet(sock: socket.socket, flags: int = 0) -> tuple[int, int, Any] | None:
    """Return the next task packet as ``(seq, kind, payload)``; None when the other end is gone.

    What the payload is for kinds other than the plain ones, :func:`frames.unpack` knows.

    Raises:
        BlockingIOError: nothing to read, with ``MSG_DONTWAIT`` in ``flags``.
        LostFile: the file of a large packet did not come through.
    """
    flags |= CLOSE_ON_EXEC
    try:
        size, control, _, _ = sock.recvmsg_into(_buffers, FD_SPACE, flags)
    except ConnectionResetError:
        # It went with packets of ours unread. That is said first, and once: what it had sent before
        # is still there.
        size, control, _, _ = sock.recvmsg_into(_buffers, FD_SPACE, flags)
    if not size:
        return None
    packet: tuple[int, int, Any] = marshal.loads(_buffer)
    if packet[1] > frames.PLAIN:
        return _complete(packet, control)
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


def _complete(packet: tuple[int, int, Any], control: list[Any]) -> tuple[int, int, Any]:
    """Add to ``packet`` what came in a file with it."""
    seq, kind, payload = packet
    if not kind & (frames.IN_FILE | frames.BODY_IN_FILE):
        return packet
    fds = _descriptors(control)
    if not fds:
        raise LostFile(seq)
    try:
        if kind & frames.BODY_IN_FILE:
            content, size = payload
            return seq, kind, (content, read_body(fds[0], size))
        whole: tuple[int, int, Any] = marshal.loads(read_body(fds[0], payload))
    finally:
        for fd in fds:
            os.close(fd)
    return whole


def _descriptors(control: list[Any]) -> list[int]:
    fds = array.array("i")
    for level, kind, data in control:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % fds.itemsize])
    return list(fds)
