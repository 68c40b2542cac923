#!/usr/bin/env python3
"""Tensors of torch on a GPU, put and got as they lie, against a real daemon.

    python_gpu_test.py TERRACED

Exits with 77 where torch or a GPU is missing. tools/gpu-check carries it to a machine with both.
"""

import pathlib
import subprocess
import sys
import tempfile
import time

try:
    import torch
except ImportError:
    print("skipped: torch is not installed")
    sys.exit(77)
if not torch.cuda.is_available():
    print("skipped: torch sees no GPU")
    sys.exit(77)

import terrace  # noqa: E402

LAYERS, PAGES, TOKENS, HEADS, DIM, BLOCKS = 16, 256, 16, 8, 128, 32
AXES = ("parts", "pages", "tokens", "heads", "dim")
CONFIG = """[server]
listen = "127.0.0.1:0"
port_file = "{folder}/ports"
[dram]
capacity = "2GiB"
[metrics]
listen = "127.0.0.1:0"
"""
HBM = """[nvme]
folder = "{folder}/nvme"
capacity = "2GiB"
[hbm]
gpus = ["0"]
gpu_capacity = "1GiB"
"""
LENDS = '[hbm]\ngpus = ["0"]\ngpu_capacity = "1GiB"\nlend_tenants = ["default"]\n'


def start_daemon(program, folder, text=CONFIG):
    config = folder / "terraced.toml"
    config.write_text(text.format(folder=folder))
    daemon = subprocess.Popen([program, "--config", config])
    ports = folder / "ports"
    for _ in range(200):
        if ports.exists() and ports.read_text().strip():
            return daemon, "127.0.0.1:" + ports.read_text().splitlines()[0].rpartition(":")[2]
        time.sleep(0.05)
    daemon.kill()
    raise SystemExit("the daemon did not start")


def check(client, kind, most, chain, on_device=False):
    layers = [torch.randn(2, PAGES, TOKENS, HEADS, DIM, device="cuda").to(torch.bfloat16)
              for _ in range(LAYERS)]
    order = torch.randperm(PAGES).tolist()
    source = [order[4 * i:4 * i + 4] for i in range(BLOCKS)]
    target = [order[4 * (i + BLOCKS):4 * (i + BLOCKS) + 4] for i in range(BLOCKS)]
    stored = terrace.StoredLayout(block_tokens=4 * TOKENS, type=kind)
    with terrace.PagedCache.from_tensors(client, layers, AXES, stored,
                                         frames_on_device=on_device) as cache:
        space = cache.open_namespace(f"gpu {kind.name}", model="none/gpu")
        seconds = []
        cache.put(space, chain, source)
        for _ in range(5):
            for layer in layers:
                layer[:, sum(target, [])] = 0
            torch.cuda.synchronize()
            begun = time.monotonic()
            loaded = cache.get(space, chain, target)
            seconds.append(time.monotonic() - begun)
            assert loaded.leading == BLOCKS, loaded
            error = max((layer[:, sum(target, [])].float()
                         - layer[:, sum(source, [])].float()).abs().max().item()
                        for layer in layers)
            assert error <= most, f"{kind.name}: off by {error}"
            time.sleep(0.2)  # copies into HBM go on in the background
        rate = BLOCKS * cache.block_bytes / min(seconds) / 1e9
        tiers = sorted({str(tier) for tier in {block.tier for block in loaded}})
        where = f", frames on the device, the last from {', '.join(tiers)}" if on_device else ""
        print(f"{kind.name}{where}: {BLOCKS} blocks of {cache.block_bytes} bytes, "
              f"off by {error:.4f} at most, best get {rate:.1f} GB/s of stored bytes", flush=True)


def check_registered(client):
    """A daemon with this GPU copies straight into and out of a tensor."""
    block_bytes = 4 << 20
    space = client.open_namespace("registered", model="none/gpu", block_tokens=16,
                                  groups=[terrace.Group(0, "full", block_bytes)])
    tensor = torch.empty(2 * BLOCKS * block_bytes // 4, dtype=torch.float32, device="cuda")
    half = tensor.numel() // 2
    tensor[:half] = torch.randn(half, device="cuda")
    chain = terrace.Chain([b"registered %d" % i for i in range(BLOCKS)])
    try:
        region = client.register_device(tensor)
    except terrace.UnsupportedError as error:  # torch's expandable segments
        print(f"registered tensors: {error}", flush=True)
        return
    with region:
        torch.cuda.synchronize()
        stored = client.put(space, chain, region.blocks(BLOCKS, block_bytes))
        assert stored.ok, stored
        seconds = []
        for _ in range(8):
            tensor[half:] = 0
            torch.cuda.synchronize()
            begun = time.monotonic()
            got = client.get(space, chain, region.blocks(BLOCKS, block_bytes,
                                                         offset=BLOCKS * block_bytes))
            seconds.append(time.monotonic() - begun)
            assert got.ok, got
            assert torch.equal(tensor[:half], tensor[half:]), "other bytes came"
            time.sleep(0.2)  # copies into HBM go on in the background
        tiers = sorted({str(tier) for tier in {block.tier for block in got}})
    rate = BLOCKS * block_bytes / min(seconds) / 1e9
    print(f"registered tensors: {BLOCKS} blocks of {block_bytes} bytes, best get {rate:.1f} GB/s, "
          f"the last from {', '.join(tiers)}", flush=True)


def check_lent(client):
    """Blocks lent where they lie on the GPU, as torch shows them."""
    space = client.open_namespace("lent", block_tokens=16, groups=[terrace.Group(0, 4 << 20)])
    chain = terrace.Chain([b"lent %d" % i for i in range(BLOCKS)])
    gpu = "GPU-" + str(torch.cuda.get_device_properties(0).uuid)
    tensor = torch.randint(0, 255, (BLOCKS * (4 << 20),), dtype=torch.uint8)
    with client.register(tensor.numpy()) as region:
        assert client.put(space, chain, region.blocks(BLOCKS, 4 << 20)).ok
        deadline = time.monotonic() + 30
        on_gpu, seconds = 0, []
        while on_gpu < BLOCKS // 2:
            assert time.monotonic() < deadline, f"lent on the GPU: {on_gpu} of {BLOCKS}"
            assert client.get(space, chain, region.blocks(BLOCKS, 4 << 20)).ok
            time.sleep(0.2)  # copies into HBM go on in the background
            begun = time.monotonic()
            lent = client.lend(space, chain, range(BLOCKS), gpu=gpu)
            seconds.append(time.monotonic() - begun)
            with lent:
                assert client.device_lending(gpu) is None, client.device_lending(gpu)
                on_gpu = 0
                for i, block in enumerate(lent):
                    if block.status is not terrace.Status.OK or not block.on_gpu:
                        continue
                    shown = torch.as_tensor(block, device="cuda")
                    right = tensor[i * (4 << 20):(i + 1) * (4 << 20)].cuda()
                    assert torch.equal(shown, right), f"block {i}: other bytes"
                    on_gpu += 1
                torch.cuda.synchronize()
    print(f"lent on the GPU: {on_gpu} of {BLOCKS} blocks of 4 MiB in {min(seconds) * 1e6:.0f} us",
          flush=True)


def main():
    chain = terrace.Chain([b"gpu block %d" % i for i in range(BLOCKS)])
    with tempfile.TemporaryDirectory() as name:
        daemon, address = start_daemon(sys.argv[1], pathlib.Path(name))
        try:
            with terrace.Client(address, name="gpu", timeout=20.0) as client:
                check(client, terrace.StoredType.LOSSLESS, 0.0, chain)
                check(client, terrace.StoredType.FP8_E4M3, 6.0 / 16 + 0.01, chain)
                check(client, terrace.StoredType.INT8, 6.0 / 254 + 0.02, chain)
        finally:
            daemon.kill()
            daemon.wait()
    with tempfile.TemporaryDirectory() as name:
        lends_nothing = CONFIG.replace('"2GiB"', '"2GiB"\nlend_percent = 0')
        daemon, address = start_daemon(sys.argv[1], pathlib.Path(name), lends_nothing + HBM)
        try:
            with terrace.Client(address, name="gpu", timeout=20.0) as client:
                check_registered(client)
                check(client, terrace.StoredType.LOSSLESS, 0.0, chain, on_device=True)
                check(client, terrace.StoredType.FP8_E4M3, 6.0 / 16 + 0.01, chain, on_device=True)
        finally:
            daemon.kill()
            daemon.wait()
    with tempfile.TemporaryDirectory() as name:
        daemon, address = start_daemon(sys.argv[1], pathlib.Path(name), CONFIG + LENDS)
        try:
            with terrace.Client(address, name="gpu", timeout=20.0) as client:
                check_lent(client)
        finally:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    main()
