#!/usr/bin/env python3
"""terraced where something is scarce: huge pages, locked memory, io_uring, descriptors, addresses.

Usage: scarce_daemon_test.py BIN_DIR. What is taken away is taken from the daemon's process alone,
never from the machine. Each daemon has an NVMe tier, so that its devices are among what suffers,
and serves a client of each link that checks every byte (peer_faults, tests/peers).
"""

import ctypes
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

import daemon_test
from daemon_test import Daemon, program

PR_SET_NO_NEW_PRIVS = 38
PR_SET_SECCOMP = 22
PR_SET_THP_DISABLE = 41
PR_CAPBSET_DROP = 24
CAP_IPC_LOCK = 14
SECCOMP_MODE_FILTER = 2
IO_URING_SETUP = 425
MIB = 1 << 20


def prctl(*arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_ulong(argument) for argument in arguments] + [ctypes.c_ulong(0)] * 4
    if libc.prctl(*words[:5]) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def without_huge_pages():
    prctl(PR_SET_THP_DISABLE, 1)


def with_8_mib_of_locked_memory():
    prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK)  # root would not be held to the limit
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (8 * MIB, 8 * MIB))


def without_io_uring():
    """io_uring_setup fails with EPERM, as in a container."""
    filters = b"".join(struct.pack("HBBI", *step) for step in (
        (0x20, 0, 0, 0),                     # load the number of the system call
        (0x15, 0, 1, IO_URING_SETUP),        # another one: the second next
        (0x06, 0, 0, 0x00050000 | 1),        # EPERM
        (0x06, 0, 0, 0x7fff0000)))           # allowed
    memory = ctypes.create_string_buffer(filters, len(filters))
    program_of_4 = struct.pack("HxxxxxxP", 4, ctypes.addressof(memory))
    holder = ctypes.create_string_buffer(program_of_4, len(program_of_4))
    prctl(PR_SET_NO_NEW_PRIVS, 1)
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(holder))


def with_little_address_space():
    resource.setrlimit(resource.RLIMIT_AS, (1024 * MIB, 1024 * MIB))


class ScarceTest(unittest.TestCase):
    def setUp(self):
        self.work = tempfile.mkdtemp(prefix="scarce-daemon-test-",
                                     dir=os.path.dirname(daemon_test.BIN))
        self.addCleanup(shutil.rmtree, self.work, ignore_errors=True)

    def start(self, scarcity=None, wait=True, dram='"64MiB"'):
        nvme = (f'[nvme]\nfolder = "{self.work}/store"\ncapacity = "256MiB"\n'
                'block_max = "256KiB"\nsync_ms = 50\n')
        daemon = Daemon(nvme, wait=wait, before=scarcity, dram=dram)
        self.addCleanup(daemon.kill)
        return daemon

    def client(self, daemon, *arguments):
        process = subprocess.Popen(
            [program("peer_faults"), "--victim", f"127.0.0.1:{daemon.ports[0]}", "--seed", "7",
             *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.kill)
        return process

    def said_at_the_end(self, process):
        out, _ = process.communicate(timeout=120)
        self.assertEqual(process.returncode, 0, out)
        self.assertIn("wrong=0", out)
        words = dict(word.split("=") for word in out.split() if "=" in word)
        return {name: int(value) for name, value in words.items()}

    def assert_serves(self, daemon, *more):
        """Calls of every kind, over each link, for some seconds."""
        for link in ((), ("--tcp",)):
            process = self.client(daemon, *link, *more)
            self.assertEqual(process.stdout.readline().strip(), "ready")
            time.sleep(4)
            counts = self.said_at_the_end(process)
            self.assertGreater(counts["good"], 20)
            self.assertEqual(counts["lost"], 0)
        self.assertGreater(daemon.metric("terrace_nvme_blocks_written_total"), 0)
        self.assertEqual(daemon.metric('terrace_nvme_state{state="on"}'), 1)

    def test_without_huge_pages_it_serves_and_says_that_it_has_none(self):
        daemon = self.start(without_huge_pages)
        self.assert_serves(daemon)
        self.assertEqual(daemon.metric("terrace_tier_huge_page_bytes"), 0)
        self.assertIn(" 0 %", daemon.ctl("stat").stdout.replace(" 0.0 %", " 0 %"))
        self.assertEqual(daemon.stop(), 0, daemon.log())

    def test_with_8_mib_of_locked_memory_it_serves(self):
        daemon = self.start(with_8_mib_of_locked_memory)
        with open(f"/proc/{daemon.process.pid}/limits", encoding="utf-8") as file:
            locked = next(line for line in file if line.startswith("Max locked memory"))
        self.assertEqual(locked.split()[3], str(8 * MIB))
        self.assert_serves(daemon)
        self.assertEqual(daemon.stop(), 0, daemon.log())

    def test_where_io_uring_is_refused_it_serves_by_epoll_and_threads(self):
        daemon = self.start(without_io_uring)
        self.assert_serves(daemon)
        self.assertEqual(daemon.metric('terrace_reactors{reactor="0",sleeps_in="epoll"}'), 1)
        self.assertIn("sleeps_in=epoll", daemon.log())
        self.assertEqual(daemon.stop(), 0, daemon.log())

    def test_an_arena_for_which_there_are_no_addresses_is_refused_with_its_cause(self):
        daemon = self.start(with_little_address_space, wait=False, dram='"1GiB"')
        self.assertEqual(daemon.process.wait(timeout=60), 1, daemon.log())
        self.assertIn("Cannot allocate memory", daemon.log())
        self.assertIn("start_failed", daemon.log())

    def test_out_of_descriptors_old_clients_are_served_and_new_ones_when_there_are_some(self):
        daemon = self.start()
        pid = daemon.process.pid
        # Gets and puts; RocksDB cannot go on to its next file, so removals are another matter.
        old = self.client(daemon, "--calm")
        self.assertEqual(old.stdout.readline().strip(), "ready")
        limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # Below every number that is free, so that none can be had at all.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, limits[1]))
        new = self.client(daemon)  # tries for 20 s
        time.sleep(3)
        self.assertIsNone(daemon.process.poll())
        self.assertIsNone(old.poll())
        resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
        self.assertEqual(new.stdout.readline().strip(), "ready")
        time.sleep(1)
        self.said_at_the_end(new)
        counts = self.said_at_the_end(old)
        self.assertGreater(counts["good"], 20)
        self.assertEqual(counts["lost"], 0)
        self.assertEqual(daemon.stop(), 0, daemon.log())

    def test_a_daemon_that_gets_no_more_memory_says_so_and_the_next_one_has_its_blocks(self):
        daemon = self.start()
        pid = daemon.process.pid
        client = self.client(daemon)
        self.assertEqual(client.stdout.readline().strip(), "ready")
        with open(f"/proc/{pid}/statm", encoding="utf-8") as file:
            used = int(file.read().split()[0]) * resource.getpagesize()
        resource.prlimit(pid, resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
        time.sleep(3)
        others = [self.client(daemon) for _ in range(8)]
        time.sleep(3)
        ended = daemon.process.poll()
        for process in others:
            process.kill()
        if ended is None:
            resource.prlimit(pid, resource.RLIMIT_AS,
                             (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            time.sleep(2)  # it may have been about to end
            ended = daemon.process.poll()
        if ended is None:
            self.assert_serves(daemon)
            return
        # By its own hand, or by UCX's, whose assertions end the process (docs/fault-model.md).
        self.assertRegex(daemon.errors(), "out of memory|UCX|Assertion|alloc", str(ended))
        client.stdin.close()
        daemon.start_again()
        self.assertGreater(daemon.metric("terrace_nvme_blocks_recovered"), 0)
        self.assert_serves(daemon)


if __name__ == "__main__":
    daemon_test.BIN = os.path.abspath(sys.argv.pop(1))
    unittest.main(verbosity=2)
