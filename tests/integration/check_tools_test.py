#!/usr/bin/env python3
"""The checkers are checked: a rule that finds nothing, or a count that lies, would not be seen."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree

import import_direction_test
import repository
import tidy_test
from repository import ROOT

sys.path.insert(0, str(ROOT / "tools/checks"))
import count_tests  # noqa: E402 (found through the line above)
import lint  # noqa: E402
import unity  # noqa: E402


def tidy(name, content):
    problems = []
    path = pathlib.PurePosixPath(name)
    tidy_test.check_text(path, content, problems)
    bare = repository.without_comments_and_strings(content)
    tidy_test.check_bans(path, bare, problems)
    tidy_test.check_function_lengths(path, bare, problems)
    tidy_test.check_coroutine_parameters(path, content, bare, problems)
    if path.suffix == ".h":
        tidy_test.check_header(path, content, problems)
    return problems


class TidyFinds(unittest.TestCase):
    def finds(self, name, content, word):
        problems = tidy(name, content)
        self.assertTrue(any(word in problem for problem in problems), problems)

    def test_a_long_line(self):
        self.finds("base/a.cc", "// " + "x" * 98 + "\n", "101 columns")

    def test_white_space_at_the_end(self):
        self.finds("base/a.cc", "int a; \n", "base/a.cc:1: white space")

    def test_a_leftover(self):
        self.finds("base/a.cc", "// TO" "DO: later\n", "leftover")

    def test_a_path_outside(self):
        self.finds("tools/a.cc", 'Open("../sha' 'red/traces");\n', "outside the repository")

    def test_a_header_without_guard(self):
        self.finds("base/a.h", "// A.\nint a;\n", "pragma once")

    def test_a_long_file(self):
        self.finds("base/a.cc", "int a;\n" * 501, "501 lines")

    def test_a_long_function(self):
        self.finds("base/a.cc", "void A::B(int x) {\n" + "  x = 1;\n" * 69 + "}\n", "A::B has 71")

    def test_a_long_member_in_a_class_in_a_namespace(self):
        body = "  void M() const {\n" + "  x();\n" * 70 + "  }\n"
        self.finds("base/a.h", "// A.\n#pragma once\nnamespace n {\nclass C {\n" + body + "};\n}\n",
                   "M has 72")

    def test_a_long_test(self):
        self.finds("tests/base/a.cc", "TEST(Arena, Leaks) {\n" + "  x();\n" * 70 + "}\n",
                   "Arena.Leaks has 72")

    def test_a_coroutine_that_may_keep_a_temporary(self):
        self.finds("base/a.h", "// A.\n#pragma once\n/// Stores it.\n"
                   "Task<void> Store(const Key& key,\n                 int x);\n",
                   "a.h:4: coroutine")

    def test_banned_calls(self):
        for room, call in (("cache", "auto t = std::chrono::steady_clock::now();"),
                           ("cache", "int f = ::open(path, 0);"),
                           ("tiers", "usleep(10);"),
                           ("transport", "std::this_thread::sleep_for(x);"),
                           ("base", "printf(text);"),
                           ("client", "std::cerr << 1;"),
                           ("tests", "int x = rand();"),
                           ("tools", "std::cout << std::endl;")):
            self.finds(f"{room}/a.cc", f"void F() {{\n  {call}\n}}\n", "a.cc:2: banned")


class TidyAllows(unittest.TestCase):
    def allows(self, name, content):
        self.assertEqual(tidy(name, content), [])

    def test_words_in_comments_and_strings(self):
        self.allows("base/a.cc", '// time(0) and rand() are banned\nauto s = "printf(";\n')

    def test_digit_separators(self):
        self.allows("base/a.cc", "int a = 1'000;\nint b = 'x';\n")

    def test_own_methods_with_such_names(self):
        self.allows("cache/a.cc", "void F() {\n  arena.open(1);\n  ring->time(2);\n}\n")

    def test_a_function_of_70_lines(self):
        self.allows("base/a.cc", "void F() {\n" + "  x();\n" * 68 + "}\n")

    def test_references_whose_lifetime_is_told(self):
        self.allows("base/a.h", "// A.\n#pragma once\n/// `key` outlives the task.\n"
                    "Task<void> Store(const Key& key);\nTask<int> Load(Link& link);\n")

    def test_many_short_functions(self):
        body = "void F() {\n  if (a) {\n  }\n}\n"
        self.allows("base/a.cc", "namespace n {\n" + body * 60 + "}\n")


class ImportDirectionFinds(unittest.TestCase):
    def finds(self, name, line, word):
        problems = []
        import_direction_test.check_source(pathlib.PurePosixPath(name), f"// A.\n{line}\n",
                                           problems)
        self.assertEqual(len(problems), 1, problems)
        self.assertIn(word, problems[0])
        self.assertIn(f"{name}:2", problems[0])

    def test_each_wrong_way(self):
        for room, target in (("base", "transport/channel.h"), ("transport", "client/terrace.hpp"),
                             ("tiers", "cache/cache.h"), ("cache", "transport/channel.h"),
                             ("client", "cache/cache.h")):
            self.finds(f"{room}/a.cc", f'#include "{target}"', f"{room} may not import")

    def test_a_library_of_the_wrong_room(self):
        problems = []
        import_direction_test.check_links(pathlib.PurePosixPath("cache/CMakeLists.txt"),
                                          "terrace_library(c\n  LINK terrace_transport)\n",
                                          {"terrace_transport": "transport"}, problems)
        self.assertEqual(len(problems), 1)
        self.assertIn("cache/CMakeLists.txt:2", problems[0])

    def test_a_library_that_a_room_hides(self):
        self.finds("cache/a.cc", "#include <ucp/api/ucp.h>", "nothing above Link")

    def test_a_file_that_is_not_there(self):
        self.finds("base/a.cc", '#include "base/no_such_header.h"', "no such file")


class CountTests(unittest.TestCase):
    PASSES = ("[ RUN      ] A.One\n[       OK ] A.One (0 ms)\n[ RUN      ] A.Two\n"
              "a.cc:5: Skipped\nno io_uring here\n[  SKIPPED ] A.Two (0 ms)\n"
              "[==========] 2 tests from 1 test suite ran. (0 ms total)\n"
              "[  PASSED  ] 1 test.\n[  SKIPPED ] 1 test, listed below:\n[  SKIPPED ] A.Two\n")

    def test_cases_of_a_program_count(self):
        self.assertEqual(count_tests.count_program("p", False, self.PASSES),
                         (1, [], ["p: A.Two"]))

    def test_the_reason_of_a_skip_is_told(self):
        self.assertEqual(count_tests.skip_reason(self.PASSES, "A.Two"), " (no io_uring here)")

    def test_a_crash_is_a_failure_and_names_the_case(self):
        output = "[ RUN      ] A.One\n[       OK ] A.One (0 ms)\n[ RUN      ] A.Two\nSegfault\n"
        passed, failed, _ = count_tests.count_program("p", True, output)
        self.assertEqual(passed, 1)
        self.assertEqual(failed, ["p: A.Two (the program ended in it)"])

    def test_the_end_of_a_process_that_a_test_starts_is_not_the_programs(self):
        child = ("[==========] Running 1 test from 1 test suite.\n[ RUN      ] B.DISABLED_Child\n"
                 "[       OK ] B.DISABLED_Child (0 ms)\n"
                 "[==========] 1 test from 1 test suite ran. (0 ms total)\n[  PASSED  ] 1 test.\n")
        output = ("[==========] Running 2 tests from 1 test suite.\n[ RUN      ] A.One\n" + child +
                  "[       OK ] A.One (0 ms)\n[ RUN      ] A.Two\n")
        self.assertEqual(count_tests.count_program("p", True, output + "Segfault\n"),
                         (1, ["p: A.Two (the program ended in it)"], []))
        output += ("[       OK ] A.Two (0 ms)\n[==========] 2 tests from 1 test suite ran. (1 ms "
                   "total)\n[  PASSED  ] 2 tests.\n")
        self.assertEqual(count_tests.count_program("p", False, output), (2, [], []))

    def test_why_a_test_failed_is_shown(self):
        output = ("[ RUN      ] A.One\nfine\n[       OK ] A.One (0 ms)\n"
                  "[ RUN      ] A.Two\nExpected: 1\n[  FAILED  ] A.Two (0 ms)\nlast\n")
        self.assertEqual(count_tests.end_of_output(output, "A.Two"),
                         ["[ RUN      ] A.Two", "Expected: 1"])
        crash = "[ RUN      ] A.Two\nSegfault\n"
        self.assertEqual(count_tests.end_of_output(crash, "A.Two")[-1], "Segfault")

    def test_a_leak_after_all_cases_passed_is_a_failure(self):
        _, failed, _ = count_tests.count_program("p", True, self.PASSES)
        self.assertEqual(len(failed), 1)

    def test_a_script_counts_once(self):
        self.assertEqual(count_tests.count_program("s", False, "fine\n"), (1, [], []))
        self.assertEqual(count_tests.count_program("s", True, "bad\n"), (0, ["s"], []))

    def test_a_program_that_was_not_built_is_a_failure_and_no_skip(self):
        def count(reason):
            return count_tests.count_entry(xml.etree.ElementTree.fromstring(
                f'<testcase name="p" status="notrun"><skipped message="{reason}"/></testcase>'))
        self.assertEqual(count("Unable to find executable"),
                         (0, ["p (not run: Unable to find executable)"], []))
        self.assertEqual(count("SKIP_RETURN_CODE=77"), (0, [], ["p (SKIP_RETURN_CODE=77)"]))

    def test_a_missing_result_file_is_an_error(self):
        run = subprocess.run([sys.executable, ROOT / "tools/checks/count_tests.py", "/nonexistent"],
                             stdout=subprocess.PIPE, check=False)
        self.assertEqual(run.returncode, 1)


def in_namespace(*lines, hidden=True):
    body = "\n".join(lines)
    inner = f"namespace {{\n\n{body}\n\n}}  // namespace\n" if hidden else f"{body}\n"
    return f"namespace terrace {{\n{inner}}}  // namespace terrace\n"


class Unity(unittest.TestCase):
    """Sources that are compiled as one must not see each other's names."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        root = unity.ROOT
        unity.ROOT = self.root
        self.addCleanup(setattr, unity, "ROOT", root)

    def groups(self, *texts, **headers):
        for name, text in headers.items():
            (self.root / f"{name}.h").write_text(text)
        for number, text in enumerate(texts):
            (self.root / f"{number}.cc").write_text(text)
        found = unity.groups([self.root / f"{number}.cc" for number in range(len(texts))])
        return [[int(path.stem) for path in group] for group in found]

    def test_names_that_meet_are_compiled_apart(self):
        for line in ("constexpr std::size_t kMost = 1;", "int kMost() { return 1; }",
                     "[[nodiscard]] int kMost();", "class kMost {};", "enum class kMost : int {};",
                     "struct [[gnu::packed]] kMost {};", "template <class T>\nT kMost();",
                     "using kMost = int;", "const std::array<int, 2> kMost{};",
                     "thread_local int kMost;", "#define kMost 1"):
            uses = "int F() { return int(kMost); }"
            self.assertEqual(self.groups(in_namespace(line), uses), [[0], [1]], line)
            self.assertEqual(self.groups(uses, in_namespace(line)), [[0], [1]], line)

    def test_a_name_that_a_header_of_another_declares(self):
        user = '#include "own.h"\nint F() { return 1; }\n'
        between = '#include "between.h"\nint G() { return 2; }\n'
        for text in (user, between):
            self.assertEqual(
                self.groups(in_namespace("struct Entry {};"), text,
                            own=in_namespace("struct Entry;", hidden=False),
                            between='#include "own.h"\n'), [[0], [1]])

    def test_namespaces_by_one_name_meet_and_of_two_things_do_not(self):
        same, other = "namespace fs = std::filesystem;\n", "namespace fs = experimental;\n"
        self.assertEqual(self.groups(same, other, same), [[0, 2], [1]])
        self.assertEqual(self.groups("using Key = int;\n", "using Key = int;\n"), [[0], [1]])
        self.assertEqual(self.groups("using a::Key;\n", "using b::Key;\n", "using a::Key;\n"),
                         [[0, 2], [1]])

    def test_what_testing_means_is_one_thing_in_a_group(self):
        ours = '#include "host.h"\nusing testing::Host;\n'
        self.assertEqual(self.groups(ours, "class A : public testing::Test {};\n", ours,
                                     host="namespace terrace::testing {}\n"), [[0, 2], [1]])

    def test_words_in_comments_and_strings_part_nothing(self):
        self.assertEqual(self.groups(in_namespace("int Most();"), '// Most\nauto s = "Most";\n'),
                         [[0, 1]])

    def test_every_source_is_in_one_group_of_bounded_size(self):
        found = self.groups(*(f"int F{number}();\n" for number in range(3 * unity.FILES_MAX + 1)))
        self.assertEqual([len(group) for group in found], 3 * [unity.FILES_MAX] + [1])
        self.assertEqual(sorted(sum(found, [])), list(range(3 * unity.FILES_MAX + 1)))


class Lint(unittest.TestCase):
    def test_of_a_command_the_flags_are_kept(self):
        command = ("/usr/bin/env A=b /usr/bin/ccache /usr/bin/clang++-19 -DA=\\\"x\\\" -I/b -O2 "
                   "-g1 -fPIC -include-pch /c.pch -Wall -o a.o -c /a.cc")
        self.assertEqual(lint.flags_of({"command": command}), ('-DA="x"', "-I/b", "-Wall"))

    def test_flags_are_joined_where_they_do_not_differ(self):
        ours = ("-DA=1", "-I/a", "-Wall")
        for other, both in ((("-DB=2", "-isystem", "/b", "-I/a", "-Wall"),
                             ("-DA=1", "-DB=2", "-I/a", "-isystem", "/b", "-Wall")),
                            (("-DA=2", "-Wall"), None), (("-DA=1", "-std=c11"), None)):
            self.assertEqual(lint.merged(ours, other), both)

    def test_every_file_is_looked_at_once_and_tests_with_their_own_settings(self):
        files = ("base/status.cc", "base/random.cc", "tests/base/status_test.cc",
                 "tests/base/task_test.cc", "tests/contract/lmcache_plugin.c",
                 "base/canary.cc")
        with tempfile.TemporaryDirectory() as folder:
            entries = [{"directory": folder, "file": str(ROOT / name),
                        "command": "clang++-19 -O2 " + "-DTERRACE_CANARIES " * ("canary" in name) +
                                   f"-o a.o -c {ROOT / name}"} for name in files]
            path = pathlib.Path(folder) / "compile_commands.json"
            path.write_text(json.dumps(entries + entries[:1]))
            found = [sorted(str(path.relative_to(ROOT)) for path in group)
                     for _, group in lint.work_of(pathlib.Path(folder))]
        self.assertEqual(sorted(sum(found, [])), sorted(files))
        self.assertEqual(["base/canary.cc"], next(g for g in found if "base/canary.cc" in g))
        for group in found:
            self.assertEqual(len({name.split("/")[0] for name in group}), 1, group)
            self.assertEqual(len({pathlib.Path(name).suffix for name in group}), 1, group)


    def test_sources_that_are_compiled_as_one_are_looked_at_too(self):
        with tempfile.TemporaryDirectory() as folder:
            build = pathlib.Path(folder).resolve()
            group = build / "tests" / "Unity" / "unity_0.cxx"
            group.parent.mkdir(parents=True)
            names = [ROOT / "tests/base/status_test.cc", ROOT / "tests/base/task_test.cc"]
            group.write_text("".join(f'#include "{name}"\n' for name in names))
            (build / "compile_commands.json").write_text(json.dumps(
                [{"directory": folder, "file": str(group),
                  "command": f"clang++-19 -DA -o a.o -c {group}"}]))
            self.assertEqual(sum((group for _, group in lint.work_of(build)), []), names)
            self.assertEqual(lint.work_of(build, names[:1]), [(("-DA",), names[:1])])

    def test_settings_that_clang_tidy_cannot_read_are_no_pass(self):
        with tempfile.TemporaryDirectory() as folder:
            source = pathlib.Path(folder) / "a.cc"
            source.write_text("int a;\n")
            (source.parent / ".clang-tidy").write_text("Checks: '-*,bugprone-*'\n")
            self.assertEqual(lint.tidy([], [], source), (True, ""))
            (source.parent / ".clang-tidy").write_text("Checks: '-*'\nNoSuchWord: 1\n")
            clean, said = lint.tidy([], [], source)
        self.assertFalse(clean)
        self.assertIn("Error parsing", said)


class Setup(unittest.TestCase):
    def run_setup(self, *arguments, **environment):
        return subprocess.run([ROOT / "tools/setup", *arguments], text=True, cwd="/",
                              env=dict(os.environ, **environment), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, check=False)

    def test_the_list_has_every_package_once(self):
        packages = self.run_setup("--list").stdout.split()
        self.assertGreater(len(packages), 10)
        self.assertEqual(len(packages), len(set(packages)))

    def test_a_second_run_changes_nothing(self):
        # A file of our own in place of the kernel's, so that the test changes no machine.
        with tempfile.NamedTemporaryFile("w+") as setting:
            setting.write("always within_size advise [never] deny force\n")
            setting.flush()
            first = self.run_setup(TERRACE_SHMEM_ENABLED_FILE=setting.name)
            second = self.run_setup(TERRACE_SHMEM_ENABLED_FILE=setting.name)
        for run in (first, second):
            self.assertEqual(run.returncode, 0, run.stdout)
            self.assertIn("packages are installed", run.stdout)
            self.assertNotIn("installing", run.stdout)

    def test_an_unwritable_setting_is_no_failure(self):
        run = self.run_setup(TERRACE_SHMEM_ENABLED_FILE="/nonexistent/shmem_enabled")
        self.assertEqual(run.returncode, 0, run.stdout)

    def test_an_unknown_argument_is_refused(self):
        run = self.run_setup("--force")
        self.assertEqual(run.returncode, 1)
        self.assertIn("--force", run.stdout)


class SetupOfABareMachine(unittest.TestCase):
    """tools/setup among stand-ins for dpkg-query and apt-get, on a PATH that has nothing else."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.bin = pathlib.Path(folder.name)
        for name in ("bash", "cat", "dirname", "echo", "env", "grep", "sed", "wc", "xargs"):
            (self.bin / name).symlink_to(shutil.which(name))
        self.calls = self.bin / "calls"
        self.stand_in("id", "echo 0")
        # A package is installed once apt-get was told to install it.
        self.stand_in("dpkg-query", "for package in \"${@:3}\"; do\n"
                      f"  grep -qF \" $package \" {self.calls} 2>/dev/null &&\n"
                      "    echo \"$package installed\"\ndone\nexit 1")
        self.stand_in("apt-get", f"echo \"apt-get $* \" >>{self.calls}")
        # `python -m venv --clear FOLDER` leaves a pip there.
        self.environment = self.bin / "environment"
        self.environment.joinpath("bin").mkdir(parents=True)
        self.stand_in("environment/bin/pip", f"echo \"pip $* \" >>{self.calls}")
        self.stand_in("python", "exit 0")

    def stand_in(self, name, body):
        path = self.bin / name
        path.write_text(f"#!{shutil.which('bash')}\n{body}\n")
        path.chmod(0o755)

    def run_setup(self, *arguments):
        run = subprocess.run(
            [ROOT / "tools/setup", *arguments], text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False,
            env={"PATH": str(self.bin), "TERRACE_SHMEM_ENABLED_FILE": "/nonexistent/file",
                 "TERRACE_PYTHON": str(self.bin / "python"),
                 "TERRACE_PYTHON_FOLDER": str(self.environment)})
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        self.pip_calls = [call for call in calls if call.startswith("pip ")]
        return run, [call for call in calls if call.startswith("apt-get") and " install " in call]

    def test_all_packages_come_in_one_call(self):
        run, installs = self.run_setup()
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertEqual(len(installs), 1)
        self.assertIn(" clang-19 ", installs[0])
        run, installs = self.run_setup()
        self.assertEqual(run.returncode, 0, run.stdout)
        self.assertEqual(len(installs), 1, "the second run installed again")

    def test_asking_only_names_what_is_missing(self):
        run, installs = self.run_setup("--check")
        self.assertEqual(run.returncode, 1)
        self.assertIn("missing: clang-19 ", run.stdout)
        self.assertEqual(installs, [])

    def test_a_failing_apt_get_is_told(self):
        self.stand_in("apt-get", "echo no route to the mirror; exit 100")
        run, _ = self.run_setup()
        self.assertEqual(run.returncode, 1)
        self.assertIn("no route to the mirror", run.stdout)
        self.assertIn("could not install", run.stdout)

    def test_pip_is_called_once_and_takes_nothing_unpinned(self):
        for _ in range(2):
            run, _ = self.run_setup()
            self.assertEqual(run.returncode, 0, run.stdout)
        self.assertEqual(len(self.pip_calls), 1)
        self.assertIn("--require-hashes", self.pip_calls[0])
        self.assertIn("python-packages.txt", self.pip_calls[0])

    def test_an_index_out_of_reach_is_told_and_no_failure(self):
        self.stand_in("environment/bin/pip", "echo no route to the index; exit 1")
        for _ in range(2):  # the second run tries again
            run, _ = self.run_setup()
            self.assertEqual(run.returncode, 0, run.stdout)
            self.assertIn("no route to the index", run.stdout)
            self.assertIn("will be skipped", run.stdout)

    def test_without_rights_the_command_to_run_is_told(self):
        self.stand_in("id", "echo 1000")
        run, installs = self.run_setup()
        self.assertEqual(run.returncode, 1)
        self.assertIn("as root, run: apt-get install", run.stdout)
        self.assertEqual(installs, [])


class Scripts(unittest.TestCase):
    def test_every_script_is_executable_and_parses(self):
        found = 0
        for path in repository.files():
            content = repository.text(path) or ""
            if not content.startswith("#!"):
                continue
            found += 1
            self.assertTrue(os.access(ROOT / path, os.X_OK), f"{path} is not executable")
            if "bash" in content.splitlines()[0]:
                run = subprocess.run(["bash", "-n", path], cwd=ROOT, check=False)
                self.assertEqual(run.returncode, 0, f"{path} does not parse")
        self.assertGreater(found, 3)


if __name__ == "__main__":
    unittest.main()
