#!/usr/bin/env python3
"""What the documents name exists: files behind relative links, headings, programs, paths, tests.

A test is named as `Suite.Case`, so that docs/fault-model.md cannot point at a proof that is gone.
"""

import ast
import re

import repository
from repository import ROOT

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
CODE_SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
PROGRAM = re.compile(r"(?:build/\w+/bin/)?(terraced|terracectl|terrace-[a-z]+)$")
TEST_NAME = re.compile(r"([A-Z]\w+)\.([A-Z]\w+|test_\w+)$")
TEST_MACRO = re.compile(r"^\s*(?:TYPED_)?TEST(?:_[FP])?\(\s*(\w+)\s*,\s*(\w+)", re.MULTILINE)
OUR_PATH = re.compile(r"(?:\./)?((?:base|transport|tiers|cache|client|tools|tests|docs|cmake)/"
                      r"[\w./-]+)$")


def anchors(path):
    """The anchors that GitHub's rendering gives the headings of a document."""
    found = set()
    for line in FENCE.sub("", repository.text(path)).splitlines():
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        if heading:
            plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading.group(1)).lower()
            found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


def programs():
    """Names of the programs that the build makes."""
    found = set()
    for path in repository.files():
        if path.name == "CMakeLists.txt":
            content = re.sub(r"#.*", "", repository.text(path))
            found |= set(re.findall(r"\b(?:terrace_program|add_executable)\(\s*([\w-]+)", content))
            found |= set(re.findall(r"\bOUTPUT_NAME\s+\"?([\w-]+)", content))
    return found


def test_names():
    """Suite.Case of every GoogleTest case in the repository, Suite.test_case of Python ones."""
    found = set()
    for path in repository.files():
        if path.name.endswith("_test.py") and path.parts[0] == "tests":
            for suite in ast.parse(repository.text(path)).body:
                if isinstance(suite, ast.ClassDef):
                    found |= {f"{suite.name}.{case.name}" for case in suite.body
                              if isinstance(case, ast.FunctionDef)}
        if path.suffix == ".cc" and path.parts[0] == "tests":
            found |= {".".join(names) for names in TEST_MACRO.findall(repository.text(path))}
    return found


def check_link(document, number, target, problems):
    if re.match(r"[a-z]+:", target):
        return
    file, _, anchor = target.partition("#")
    path = (ROOT / document.parent / file) if file else ROOT / document
    if not path.exists():
        problems.append(f"{document}:{number}: the link {target} leads nowhere")
    elif anchor and path.suffix == ".md" and \
            anchor not in anchors(path.resolve().relative_to(ROOT)):
        problems.append(f"{document}:{number}: {file or 'this document'} has no heading #{anchor}")


def check_code(document, number, code, known, problems):
    known_programs, known_tests = known
    words = code.split()
    if TEST_NAME.match(code) and code not in known_tests:
        problems.append(f"{document}:{number}: there is no test `{code}`")
    program = PROGRAM.match(words[0]) if words else None
    if program and program.group(1) not in known_programs:
        problems.append(f"{document}:{number}: `{words[0]}` is no program of the build")
    for word in words:
        ours = OUR_PATH.match(word.rstrip(".,:;"))
        if ours and not (ROOT / ours.group(1)).exists():
            problems.append(f"{document}:{number}: `{word}` does not exist")


def main():
    problems = []
    known = (programs(), test_names())
    documents = [path for path in repository.files() if path.suffix == ".md"]
    for document in documents:
        content = repository.text(document)
        for number, line in enumerate(content.splitlines(), 1):
            for match in LINK.finditer(line):
                check_link(document, number, match.group(1) or match.group(2), problems)
            for match in CODE_SPAN.finditer(line):
                check_code(document, number, match.group(1), known, problems)
        for fence in FENCE.finditer(content):
            number = content.count("\n", 0, fence.start()) + 1
            for line in fence.group(0).splitlines()[1:-1]:
                if PROGRAM.match((line.split() or [""])[0]):
                    check_code(document, number, line, known, problems)
    for document in documents:
        if document.parts[0] == "docs" and f"({document})" not in repository.text("README.md"):
            problems.append(f"{document}: README.md does not lead to it")
    repository.report("documents", problems, f"{len(documents)} documents")


if __name__ == "__main__":
    main()
