#!/usr/bin/env python3
"""Hello, Terrace, in Python: puts one prompt's blocks into a daemon, asks for them again, looks at
them in the daemon's own memory, checks every byte.

    terraced --config terraced.toml &
    python3 hello.py 127.0.0.1:7420
"""

import asyncio
import sys

import terrace

BLOCKS = 8
BLOCK_BYTES = 256 << 10


def main(address: str) -> None:
    with terrace.Client(address, name="hello", timeout=5.0) as client:
        # Everything that changes the bytes of a block stands in its namespace.
        space = client.open_namespace("hello", model="none/hello", block_tokens=64,
                                      groups=[terrace.Group(0, BLOCK_BYTES)])
        # Keys of the prompt's blocks, in prefix order. Engines use chained hashes.
        chain = terrace.Chain([f"hello block {i} in Python".encode() for i in range(BLOCKS)])
        print(f"{client.match(space, chain, timeout=0.05).matched} of {BLOCKS} blocks are stored")

        # Memory of the caller's own: a numpy array or a CPU tensor would do as well.
        memory = bytearray(b"".join(bytes([i + 1]) * BLOCK_BYTES for i in range(BLOCKS)))
        expected = bytes(memory)
        with client.register(memory) as region:
            blocks = region.blocks(BLOCKS, BLOCK_BYTES)
            stored = client.put(space, chain, blocks)
            print(f"put: {[result.status.name for result in stored]}")

            memory[:] = bytes(len(memory))
            loaded = client.get(space, chain, blocks)
            # What is not there a real engine computes: `leading` blocks need no prefill.
            assert loaded.leading == BLOCKS, loaded
            assert memory == expected
            print(f"{BLOCKS} blocks of {BLOCK_BYTES} bytes came back right, by {client.link_name}")

        # Without a copy: the daemon's own memory, read-only. Leaving the `with` gives it back, and
        # raises ExpiredError when what was read must not be used.
        with client.lend(space, chain, [0]) as lent:
            if lent[0].status is terrace.Status.OK:
                right = lent[0].buffer == expected[:BLOCK_BYTES]
        print(f"block 0 in the daemon's memory: {lent[0].status.name}")
        assert lent[0].status is not terrace.Status.OK or right


async def main_async(address: str) -> None:
    """The same calls in an event loop: nothing blocks it."""
    async with await terrace.AsyncClient.connect(address, name="hello") as client:
        space = await client.open_namespace("hello", model="none/hello", block_tokens=64,
                                            groups=[terrace.Group(0, BLOCK_BYTES)])
        chain = terrace.Chain([f"hello block {i} in Python".encode() for i in range(BLOCKS)])
        region = await client.allocate(BLOCKS * BLOCK_BYTES)
        blocks = region.blocks(BLOCKS, BLOCK_BYTES)
        results = await asyncio.gather(*[client.get(space, chain, [block]) for block in blocks])
        assert all(result.ok for result in results), results
        print(f"{len(results)} gets at the same time: all right")


if __name__ == "__main__":
    where = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7420"
    main(where)
    asyncio.run(main_async(where))
