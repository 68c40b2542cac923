#!/usr/bin/env python3
"""Counts what ctest ran, from the JUnit file it wrote, and shows why what failed did.

Usage: count_tests.py JUNIT_FILE

A GoogleTest program is one entry for ctest; here its cases count, because a skipped case inside a
passing program must not be silent. Prints one line for each failed and each skipped test, behind
the failed ones the end of what their program printed, then "PASSED FAILED SKIPPED" as the last
line. Exit status 1 when the file is missing or unreadable.
"""

import re
import sys
import xml.etree.ElementTree

LINES_MAX = 60  # shown of each failed program
LINE_CHARACTERS_MAX = 240

BEGIN_LINE = re.compile(r"^\[==========\] Running (\d+) tests? from ", re.MULTILINE)
SUMMARY_LINE = re.compile(r"^\[==========\] (\d+) tests? from .* ran\.", re.MULTILINE)
PASSED_LINE = re.compile(r"^\[  PASSED  \] (\d+) tests?\.", re.MULTILINE)
FAILED_CASE = re.compile(r"^\[  FAILED  \] ([^\s,]+\.[^\s,]+)", re.MULTILINE)
SKIPPED_CASE = re.compile(r"^\[  SKIPPED \] ([^\s,]+\.[^\s,]+)", re.MULTILINE)
STARTED_CASE = re.compile(r"^\[ RUN      \] (\S+)", re.MULTILINE)
ENDED_CASE = re.compile(r"^\[(?:       OK |  FAILED  |  SKIPPED )\] (\S+\.[^\s,]+)", re.MULTILINE)


def unique(names):
    return list(dict.fromkeys(names))


def own_cases(line, output):
    """The cases of such lines, without those that a test runs in a process of its own."""
    return unique(case for case in line.findall(output) if ".DISABLED_" not in case)


def end_of_program(output):
    """Where the program says that all its cases ran; None when it does not. A process that a test
    started may have said so of its one case before: it ran another number of them."""
    begin = BEGIN_LINE.search(output)
    ends = [end.end() for end in SUMMARY_LINE.finditer(output)
            if begin is None or end.group(1) == begin.group(1)]
    return ends[-1] if ends else None


def count_program(name, entry_failed, output):
    """(passed, failed names, skipped names) of one ctest entry."""
    started = own_cases(STARTED_CASE, output)
    if not started:
        return (0, [name], []) if entry_failed else (1, [], [])
    failed = unique(FAILED_CASE.findall(output))
    skipped = [case for case in unique(SKIPPED_CASE.findall(output)) if case not in failed]
    end = end_of_program(output)
    if end is not None:
        passed = PASSED_LINE.search(output, end)
        passed = int(passed.group(1)) if passed else 0
    else:
        # It died on the way: whatever started and never ended is what it died of.
        ended = own_cases(ENDED_CASE, output)
        failed += [f"{case} (the program ended in it)" for case in started if case not in ended]
        passed = len([case for case in ended if case not in failed and case not in skipped])
    if entry_failed and not failed:
        failed = ["(all cases passed, the program did not: a leak, a race or its exit status)"]
    return (passed, [f"{name}: {case}" for case in failed],
            [f"{name}: {case}" for case in skipped])


def skip_reason(output, case):
    """What GTEST_SKIP() said, if the case's part of the output has it."""
    start = output.find(f"[ RUN      ] {case}\n")
    end = output.find(f"[  SKIPPED ] {case}", start)
    if start < 0 or end < 0:
        return ""
    lines = [line.strip() for line in output[start:end].splitlines()[1:]]
    lines = [line for line in lines if line and not line.endswith(": Skipped")]
    return f" ({' '.join(lines)[:160]})" if lines else ""


def end_of_output(output, case):
    """The last lines that a failed case printed, or else its whole program did."""
    start = output.find(f"[ RUN      ] {case}\n")
    end = output.find(f"[  FAILED  ] {case}", start)
    part = output[start:end] if 0 <= start < end else output
    return [line[:LINE_CHARACTERS_MAX] for line in part.rstrip().splitlines()[-LINES_MAX:]]


def count_entry(entry):
    """(passed, failed names, skipped names) of a <testcase> of ctest's file."""
    name = entry.get("name", "?")
    status = entry.get("status", "")
    if status == "disabled":
        return 0, [], [f"{name} (disabled)"]
    if status == "notrun":
        skip = entry.find("skipped")
        reason = skip.get("message", "") if skip is not None else ""
        # A test may ask to be skipped; a program that was never built is no pass and no skip.
        if reason.startswith("SKIP_"):
            return 0, [], [f"{name} ({reason})"]
        return 0, [f"{name} (not run: {reason})"], []
    output = entry.findtext("system-out") or ""
    passed, failed, skipped = count_program(name, status != "run", output)
    reasons = [skip_reason(output, case.split(": ", 1)[1]) for case in skipped]
    return passed, failed, [case + reason for case, reason in zip(skipped, reasons)]


def main():
    if len(sys.argv) != 2:
        print("usage: count_tests.py JUNIT_FILE")
        return 1
    try:
        suite = xml.etree.ElementTree.parse(sys.argv[1]).getroot()
    except (OSError, xml.etree.ElementTree.ParseError) as error:
        print(f"    no test results: {error}")
        return 1
    passed, failed, skipped = 0, 0, 0
    for entry in suite.iter("testcase"):
        now_passed, now_failed, now_skipped = count_entry(entry)
        passed += now_passed
        failed += len(now_failed)
        skipped += len(now_skipped)
        for case in now_failed:
            print(f"    FAILED: {case}")
            name = case.split(": ", 1)[-1].split(" (")[0]
            for line in end_of_output(entry.findtext("system-out") or "", name):
                print(f"      | {line}")
        for case in now_skipped:
            print(f"    skipped: {case}")
    print(passed, failed, skipped)
    return 0


if __name__ == "__main__":
    sys.exit(main())
