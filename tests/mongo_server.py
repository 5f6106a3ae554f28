"""A server that speaks MongoDB's protocol as far as result backends need it, before mongomock.

It lets the real client library talk to it, in as many processes as a test has.
"""

from __future__ import annotations

import socketserver
import struct
import threading
from typing import Any

import bson
import mongomock
from pymongo.errors import DuplicateKeyError

#: Operation codes of the protocol.
OP_REPLY, OP_QUERY, OP_MSG = 1, 2004, 2013
#: Length, request id, id of the request that is answered, operation code.
HEADER = struct.Struct("<iiii")
#: What a server says of itself that stands alone.
HELLO = {
    "ismaster": True,
    "isWritablePrimary": True,
    "helloOk": True,
    "maxBsonObjectSize": 16 * 1024 * 1024,
    "maxMessageSizeBytes": 48_000_000,
    "maxWriteBatchSize": 100_000,
    "minWireVersion": 0,
    "maxWireVersion": 21,
}


class MongoServer(socketserver.ThreadingTCPServer):
    """Listens on a port of its own until `stop`."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Conversation)
        #: What is stored, for tests to look into.
        self.client = mongomock.MongoClient()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def address(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_address[1]}"

    def stop(self) -> None:
        """End it."""
        self.shutdown()
        self.server_close()

    def answer(self, command: dict[str, Any]) -> dict[str, Any]:
        """Return what the command has to be answered with."""
        name = next(iter(command))
        handle = getattr(self, f"on_{name.lower()}", None)
        if handle is None:
            return {"ok": 0, "code": 59, "errmsg": f"no such command: {name}"}
        with self.lock:
            return {**handle(command, self.client[command["$db"]]), "ok": 1}

    def on_ismaster(self, command: dict[str, Any], database: Any) -> dict[str, Any]:
        """The client connects."""
        return HELLO

    on_hello = on_ismaster

    def on_ping(self, command: dict[str, Any], database: Any) -> dict[str, Any]:
        """Nothing is wanted but an answer."""
        return {}

    on_endsessions = on_createindexes = on_ping

    def on_find(self, command: dict[str, Any], database: Any) -> dict[str, Any]:
        """Find documents; they all come in the first batch."""
        found = database[command["find"]].find(command.get("filter"), limit=command.get("limit", 0))
        namespace = f"{command['$db']}.{command['find']}"
        return {"cursor": {"id": 0, "ns": namespace, "firstBatch": list(found)}}

    def on_update(self, command: dict[str, Any], database: Any) -> dict[str, Any]:
        """Replace documents."""
        collection, answer = database[command["update"]], {"n": 0, "nModified": 0}
        for index, update in enumerate(command["updates"]):
            query, document = update["q"], update["u"]
            try:
                done = collection.replace_one(query, document, upsert=update.get("upsert", False))
            except DuplicateKeyError as exc:
                error = {"index": index, "code": 11000, "errmsg": str(exc)}
                return {**answer, "writeErrors": [error]}
            answer["n"] += done.matched_count or bool(done.upserted_id)
            answer["nModified"] += done.modified_count
        return answer

    def on_delete(self, command: dict[str, Any], database: Any) -> dict[str, Any]:
        """Delete documents."""
        collection, count = database[command["delete"]], 0
        for delete in command["deletes"]:
            one = delete.get("limit") == 1
            done = (collection.delete_one if one else collection.delete_many)(delete["q"])
            count += done.deleted_count
        return {"n": count}


class Conversation(socketserver.StreamRequestHandler):
    """One connection of a client."""

    server: MongoServer

    def handle(self) -> None:
        """Answer messages until the client goes."""
        while len(header := self.rfile.read(HEADER.size)) == HEADER.size:
            length, number, _, code = HEADER.unpack(header)
            message = self.rfile.read(length - HEADER.size)
            if code == OP_QUERY:  # the client's first words, to a server of any age
                document = bson.encode(self.server.answer({**first_query(message), "$db": "admin"}))
                body, code = struct.pack("<iqii", 8, 0, 0, 1) + document, OP_REPLY
            else:
                body = bytes(5) + bson.encode(self.server.answer(command_in(message)))
            self.wfile.write(HEADER.pack(HEADER.size + len(body), 0, number, code) + body)


def first_query(message: bytes) -> dict[str, Any]:
    """Return the command in an OP_QUERY: after flags, a name, and two numbers."""
    return dict(bson.decode(message[message.index(b"\0", 4) + 1 + 8 :]))


def command_in(message: bytes) -> dict[str, Any]:
    """Return the command in an OP_MSG: a document, and lists that stand by themselves."""
    command: dict[str, Any] = {}
    rest = message[4:]
    while rest:
        kind, rest = rest[0], rest[1:]
        size = int.from_bytes(rest[:4], "little")
        section, rest = rest[:size], rest[size:]
        if kind == 0:
            command = {**bson.decode(section), **command}
        else:
            name, _, documents = section[4:].partition(b"\0")
            command[name.decode()] = bson.decode_all(documents)
    return command
