#!/usr/bin/env python3
"""tools/gpu-check packs what a machine with a GPU needs, and what it packed runs without one."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent


class GpuCheckTest(unittest.TestCase):
    def test_what_was_packed_runs_from_its_folder_alone(self):
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name) / "carried"
            packed = subprocess.run([ROOT / "tools/gpu-check", "--pack", folder], text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            self.assertEqual(packed.returncode, 0, packed.stdout)
            # A machine without a GPU, also where this one has one.
            hidden = dict(os.environ, CUDA_VISIBLE_DEVICES="", PATH="/usr/bin:/bin")
            done = subprocess.run([folder / "gpu-check", folder], text=True, env=hidden,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            self.assertEqual(done.returncode, 0, done.stdout)
            report = json.loads((folder / "gpu-check.json").read_text())
            self.assertTrue(report["tests"])
            for test in report["tests"]:
                self.assertEqual(test["failed"], 0, test)
                self.assertGreater(test["passed"] + test["skipped"], 0, test)

    def test_a_folder_that_was_not_packed_is_named(self):
        with tempfile.TemporaryDirectory() as name:
            done = subprocess.run([ROOT / "tools/gpu-check", name], text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
            self.assertEqual(done.returncode, 1)
            self.assertIn(f"{name} holds no programs", done.stdout)


if __name__ == "__main__":
    sys.exit(unittest.main())
