"""What the repository's own tests share: its files, its rooms, and C++ without its comments."""

import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CPP_SOURCES = (".cc", ".cpp", ".c")
CPP_HEADERS = (".h", ".hpp")
ROOMS = ("base", "transport", "tiers", "cache", "client", "tools", "tests")


def files():
    """Every file that git tracks or would track, as paths relative to ROOT, sorted."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)
    if listing.returncode == 0:
        names = {name for name in listing.stdout.decode().split("\0") if name}
        found = [pathlib.PurePosixPath(name) for name in names]
    else:  # an unpacked archive, without git
        found = [pathlib.PurePosixPath(path.relative_to(ROOT)) for path in ROOT.rglob("*")
                 if path.relative_to(ROOT).parts[0] not in ("build", "out", ".git")]
    return sorted(path for path in found if (ROOT / path).is_file())


# What fuzzers made: bytes, even where they look like text.
FUZZED = ("tests/fuzz/corpus/", "tests/fuzz/regressions/")


def text(path):
    """The file's text. A file that is no UTF-8, or that a fuzzer made, is no source: None."""
    if str(path).startswith(FUZZED):
        return None
    try:
        return (ROOT / path).read_bytes().decode("utf-8")
    except UnicodeDecodeError:
        return None


def is_cpp(path):
    return path.suffix in CPP_SOURCES + CPP_HEADERS


def is_script(path, content):
    """Bash or Python, by its ending or its first line."""
    return path.suffix in (".sh", ".py") or content.startswith("#!")


TOKEN = re.compile(
    r'//[^\n]*|/\*.*?\*/'                             # comments
    r'|R"(?P<mark>[^()\s\\]{0,16})\(.*?\)(?P=mark)"'  # raw strings
    r'|"(?:\\.|[^"\\\n])*"'                           # strings
    r"|(?<![0-9A-Fa-f])'(?:\\.|[^'\\\n])+'",          # characters, not digit separators
    re.DOTALL)


def blank(match):
    """Keeps lines and columns, so that numbers in messages stay true."""
    found = match.group(0)
    filler = re.sub(r"[^\n]", " ", found)
    if found.startswith(("/", "R")):
        return filler
    return found[0] + filler[1:-1] + found[-1]


def without_comments_and_strings(content):
    return TOKEN.sub(blank, content)


def report(name, problems, looked_at):
    """Prints the findings and ends the test."""
    for problem in problems:
        print(problem)
    print(f"{name}: {looked_at} looked at, {len(problems)} problems")
    sys.exit(1 if problems else 0)
