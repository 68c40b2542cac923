#!/usr/bin/env python3
"""An engine's paged cache in Python: one tensor a layer, its blocks stored from pages and got back
into other ones, as they are and quantised. numpy here; tensors of torch are passed just so.

    terraced --config terraced.toml &
    python3 paged.py 127.0.0.1:7420
"""

import sys

import numpy

import terrace

LAYERS, PAGES, TOKENS, HEADS, DIM = 4, 64, 16, 8, 128


def main(address: str) -> None:
    random = numpy.random.default_rng(1)
    layers = [random.standard_normal((2, PAGES, TOKENS, HEADS, DIM)).astype(numpy.float16)
              for _ in range(LAYERS)]
    axes = ("parts", "pages", "tokens", "heads", "dim")
    source, target = [[3, 9, 1, 40], [7, 7 + 8, 20, 2]], [[50, 60, 51, 61], [52, 62, 53, 63]]
    chain = terrace.Chain([b"paged block 0", b"paged block 1"])
    with terrace.Client(address, name="paged", timeout=5.0) as client:
        for kind, most in ((terrace.StoredType.LOSSLESS, 0.0), (terrace.StoredType.INT8, 1 / 250)):
            stored = terrace.StoredLayout(block_tokens=4 * TOKENS, type=kind)
            with terrace.PagedCache.from_tensors(client, layers, axes, stored) as cache:
                space = cache.open_namespace(f"paged {kind.name}", model="none/paged")
                cache.put(space, chain, source)  # EXISTS where an earlier run has stored them
                loaded = cache.get(space, chain, target)
                assert loaded.leading == 2, loaded
                cache.fence(page for block in target for page in block)
                error = max(abs(layer[:, sum(target, [])].astype(float)
                                - layer[:, sum(source, [])]).max() for layer in layers)
                largest = max(abs(layer).max() for layer in layers)
                print(f"{kind.name}: blocks of {cache.block_bytes} bytes, off by {error:.4f} "
                      f"at most, of {largest:.1f}")
                assert error <= most * float(largest)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7420")
