#!/usr/bin/env python3
"""terraced as an operator meets it: start, look, break, stop. Usage: daemon_test.py BIN_DIR"""

import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.error
import urllib.request

BIN = ""
START_S = 60  # a sanitizer build on a busy machine; the daemon itself needs well under a second


def program(name):
    return os.path.join(BIN, name)


def run(name, *arguments):
    return subprocess.run([program(name), *arguments], capture_output=True, text=True,
                          timeout=120, check=False)


class Daemon:
    """A terraced with its own folder, configuration and ports. `wait` false: it need not start.
    `before`: what its process does to itself before it becomes terraced."""

    def __init__(self, extra="", reactors=1, wait=True, port=0, before=None, dram='"64MiB"'):
        self.folder = tempfile.TemporaryDirectory(prefix="terrace-daemon-test-")
        self.port_file = os.path.join(self.folder.name, "ports")
        self.log_file = os.path.join(self.folder.name, "log")
        self.config = os.path.join(self.folder.name, "terraced.toml")
        with open(self.config, "w", encoding="utf-8") as file:
            file.write(
                f'[server]\nlisten = "127.0.0.1:{port}"\nreactors = {reactors}\n'
                f'port_file = "{self.port_file}"\n'
                f'[dram]\ncapacity = {dram}\n[log]\nfile = "{self.log_file}"\n'
                f'[metrics]\nlisten = "127.0.0.1:0"\n{extra}'
            )
        self.error_file = os.path.join(self.folder.name, "errors")
        self.launch(before)
        if wait:
            self.wait_until_it_serves()

    def launch(self, before=None):
        with open(self.error_file, "ab") as errors:
            self.process = subprocess.Popen([program("terraced"), "--config", self.config],
                                            stderr=errors, preexec_fn=before)

    def start_again(self):
        """After it has ended by itself."""
        if os.path.exists(self.port_file):
            os.unlink(self.port_file)
        self.launch()
        self.wait_until_it_serves()

    def errors(self):
        with open(self.error_file, encoding="utf-8") as file:
            return file.read()

    def wait_until_it_serves(self):
        deadline = time.monotonic() + START_S
        while not os.path.exists(self.port_file):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("terraced did not start: " + self.log())
            time.sleep(0.02)
        with open(self.port_file, encoding="utf-8") as file:
            lines = file.read().split("\n")
        self.ports = [int(line) for line in lines if line.isdigit()]
        metrics = next(line for line in lines if line.startswith("metrics"))
        self.metrics_port = int(metrics.split()[1])

    def log(self):
        try:
            with open(self.log_file, encoding="utf-8") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def http(self, path):
        url = f"http://127.0.0.1:{self.metrics_port}{path}"
        with urllib.request.urlopen(url, timeout=20) as reply:
            return reply.read().decode()

    def ctl(self, *arguments):
        return run("terracectl", "--connect", f"127.0.0.1:{self.ports[0]}", "--timeout", "30",
                   *arguments)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)

    def crash(self):
        self.process.kill()
        self.process.wait()

    def metric(self, name):
        """The sum of the samples of a name, with labels or the beginning of them."""
        lines = [line for line in self.http("/metrics").splitlines() if line.startswith(name)]
        if not lines:
            raise AssertionError("no metric " + name)
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.folder.cleanup()


class DaemonTest(unittest.TestCase):
    def start(self, *arguments, **options):
        daemon = Daemon(*arguments, **options)
        self.addCleanup(daemon.kill)
        return daemon

    def assert_serves(self, daemon):
        self.assertEqual(daemon.http("/healthz").strip(), "ok")
        result = daemon.ctl("stat", "--json")
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertTrue(json.loads(result.stdout))

    def test_sigterm_stops_cleanly_and_takes_the_port_file_away(self):
        daemon = self.start(reactors=2)
        self.assertEqual(len(daemon.ports), 2)
        self.assert_serves(daemon)
        self.assertEqual(daemon.stop(), 0, daemon.log())
        self.assertIn("stopped clean=true", daemon.log())
        self.assertFalse(os.path.exists(daemon.port_file))

    def test_metrics_are_prometheus_text_with_a_sample_per_reactor(self):
        daemon = self.start(reactors=2)
        text = daemon.http("/metrics")
        self.assertRegex(text, r'(?m)^terrace_[a-z_]+\{[^}]*reactor="1"[^}]*\} ')
        self.assertRegex(text, r"(?m)^# TYPE terrace_[a-z_]+ (counter|gauge)$")
        with self.assertRaises(urllib.error.HTTPError):
            daemon.http("/nothing")

    def test_random_bytes_on_the_port_harm_nobody(self):
        daemon = self.start()
        seed = int(os.environ.get("TERRACE_TEST_SEED", time.time_ns() % 1_000_000))
        print("seed", seed)
        source = random.Random(seed)
        attacks = [
            lambda: source.randbytes(source.randint(1, 4096)),
            lambda: b"TRRF" + struct.pack("<I", 0xFFFFFFFF) + source.randbytes(64),
            lambda: b"TRRF" + struct.pack("<I", 0),
            lambda: b"TRRF" + struct.pack("<I", 256) + source.randbytes(256),
            lambda: b"TRRF" + struct.pack("<I", 4096) + source.randbytes(17),  # then it stops
            lambda: b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
            lambda: b"",
        ]
        for turn in range(140):
            with socket.create_connection(("127.0.0.1", daemon.ports[0]), timeout=20) as peer:
                try:
                    peer.sendall(attacks[turn % len(attacks)]())
                    if turn % 3 == 0:
                        peer.settimeout(0.05)
                        peer.recv(4096)
                except (BrokenPipeError, ConnectionResetError, TimeoutError):
                    pass  # it was dropped, or is waited for: both are right
        self.assert_serves(daemon)
        self.assertEqual(daemon.stop(), 0, daemon.log())

    def check_config(self, text):
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(text)
            file.flush()
            result = run("terraced", "--check-config", "--config", file.name)
            return result.returncode, result.stderr.replace(file.name, "FILE")

    def test_every_error_of_a_config_is_told_with_file_line_and_key(self):
        status, errors = self.check_config(
            '[server]\nlisten = 7\nreactorz = 2\n[dram]\ncapacity = -1\n')
        self.assertEqual(status, 1)
        for line, key in ((2, "server.listen"), (3, "server.reactorz"), (5, "dram.capacity")):
            self.assertIn(f"FILE:{line}: {key}: ", errors)

    def test_an_address_beyond_loopback_needs_a_trusted_network(self):
        status, errors = self.check_config('[server]\nlisten = "0.0.0.0:7420"\n')
        self.assertEqual(status, 1)
        self.assertIn("FILE:2: server.listen: ", errors)
        self.assertIn("trusted_network", errors)

    def test_the_printed_default_config_is_a_good_config(self):
        printed = run("terraced", "--print-default-config")
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            file.write(printed.stdout)
            file.flush()
            result = run("terraced", "--check-config", "--config", file.name)
            self.assertEqual(result.returncode, 0, result.stderr)

    def test_a_port_that_is_taken_is_named(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(f'[server]\nlisten = "127.0.0.1:{port}"\n[dram]\ncapacity = "64MiB"\n'
                           '[metrics]\nenabled = false\n')
                file.flush()
                result = run("terraced", "--config", file.name)
                self.assertEqual(result.returncode, 1)
                self.assertIn(str(port), result.stderr)

    def test_terracectl_says_whom_it_did_not_reach(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        result = run("terracectl", "--connect", f"127.0.0.1:{port}", "stat")
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"127.0.0.1:{port}", result.stderr)

    def test_clear_of_an_unknown_namespace_fails_with_its_name(self):
        daemon = self.start()
        result = daemon.ctl("clear", "no-such-space")
        self.assertEqual(result.returncode, 1)
        self.assertIn("no-such-space", result.stderr)
        self.assertEqual(daemon.ctl("namespaces", "--json").returncode, 0)


if __name__ == "__main__":
    BIN = sys.argv.pop(1)
    unittest.main(verbosity=2)
