#!/usr/bin/env python3
"""Imports go one way: base <- transport <- client <- tools, and base <- tiers <- cache <- tools.

Checks the #include lines, the libraries that each room's CMakeLists.txt links, and that what a
room exists to hide (UCX, io_uring, RocksDB, the config parser) is included nowhere else.
"""

import re

import repository
from repository import ROOMS, ROOT

# What each room may import. tools/terraced is where transport and cache meet.
MAY_IMPORT = {
    "base": {"base"},
    "transport": {"base", "transport"},
    "client": {"base", "transport", "client"},
    "tiers": {"base", "tiers"},
    "cache": {"base", "tiers", "cache"},
    "tools": set(ROOMS) - {"tests"},
    "tests": set(ROOMS),
}

# The parts of what has some: each may import those before it.
PARTS = {
    "tools/replay/": ("trace", "worth", "simulate", "run", "report", "page", "commands"),
    "client/": ("plan", "regions", "request", "wire", "session", "calls"),
    "tools/terraced/": ("logs", "config", "service", "metrics"),
    "tools/bench/": ("load", "limits", "paths"),
}

# A library's header, and the folders that may see it: everybody else uses our interface over it.
CONFINED = (
    (r"uc[pts]/", ("transport/rdma/", "tools/bench/"),
     "nothing above Link may know UCX"),
    (r"liburing", ("base/", "tiers/", "tools/bench/", "tests/base/", "tests/tiers/"),
     "use Reactor or Device"),
    (r"rocksdb/", ("base/", "tiers/", "tests/base/", "tests/tiers/"), "use IndexStore"),
    (r"toml\+\+/", ("tools/", "tests/tools/"), "configuration is read by the tools"),
    (r"spdlog/", ("tools/", "tests/tools/"), "a library does not log: return a Status, or count"),
    (r"xxh", ("base/", "tests/base/"), "use base/checksum.h"),
)

INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')


def room_of(name):
    return name.split("/", 1)[0]


def check_source(path, content, problems):
    name = path.as_posix()
    room = room_of(name)
    for number, line in enumerate(content.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        quote, included = match.groups()
        where = f"{name}:{number}: {line.strip()}"
        target = room_of(included)
        if target in ROOMS and "/" in included and target not in MAY_IMPORT[room]:
            problems.append(f"{where}: {room} may not import {target}")
        for folder, parts in PARTS.items():
            if not (name.startswith(folder) and included.startswith(folder)):
                continue
            part, other = (text.removeprefix(folder).split("/")[0] for text in (name, included))
            if part in parts and other in parts and parts.index(other) > parts.index(part):
                problems.append(f"{where}: {part} may not import {other}")
        example = name.startswith("client/examples/")
        if quote == '"' and not example and not (ROOT / included).is_file() \
                and not included.endswith("_generated.h"):
            problems.append(f"{where}: no such file from the repository's root")
        for pattern, folders, instead in CONFINED:
            if re.match(pattern, included) and not name.startswith(folders):
                problems.append(f"{where}: only in {', '.join(folders)}: {instead}")


def libraries():
    """{library: the room that makes it}."""
    found = {}
    for path in repository.files():
        if path.name == "CMakeLists.txt" and path.parts[0] in ROOMS:
            content = re.sub(r"#.*", "", repository.text(path))
            for name in re.findall(r"\b(?:terrace|add)_library\(\s*([\w-]+)", content):
                found[name] = path.parts[0]
    return found


def check_links(path, content, made_by, problems):
    room = path.parts[0]
    for number, line in enumerate(re.sub(r"#.*", "", content).splitlines(), 1):
        for word in re.findall(r"[\w-]+", line):
            if word in made_by and made_by[word] not in MAY_IMPORT[room]:
                problems.append(f"{path}:{number}: {room} may not link {word} of {made_by[word]}")


def main():
    problems = []
    looked_at = 0
    made_by = libraries()
    for path in repository.files():
        if path.parts[0] not in ROOMS:
            continue
        if repository.is_cpp(path):
            check_source(path, repository.text(path), problems)
            looked_at += 1
        elif path.name == "CMakeLists.txt":
            check_links(path, repository.text(path), made_by, problems)
            looked_at += 1
    repository.report("import direction", problems, f"{looked_at} files")


if __name__ == "__main__":
    main()
