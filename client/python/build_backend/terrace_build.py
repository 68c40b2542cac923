"""Makes the wheel of the package beside this folder: a build backend (PEP 517) without needs.

The wheel holds the Python files and, where one is found, libterrace.so: that of TERRACE_LIBRARY,
else that of build/release in the repository. With it the wheel is for this platform and the package
needs no path; without it the library is looked for when the package is imported.
"""

import base64
import hashlib
import os
import pathlib
import sysconfig
import tarfile
import tomllib
import zipfile

HERE = pathlib.Path(__file__).resolve().parent.parent
REPOSITORY = HERE.parent.parent
BUNDLED_NAME = "libterrace.so.1"
EPOCH = (1980, 1, 1, 0, 0, 0)  # so that the same files make the same wheel


def project():
    return tomllib.loads((HERE / "pyproject.toml").read_text())["project"]


def library():
    """The libterrace.so to put in, or None."""
    named = os.environ.get("TERRACE_LIBRARY")
    path = pathlib.Path(named) if named else REPOSITORY / "build/release/lib" / BUNDLED_NAME
    if named and not path.is_file():
        raise FileNotFoundError(f"TERRACE_LIBRARY={named}: no such file")
    return path.resolve() if path.is_file() else None


def metadata(about):
    return (f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n"
            f"Summary: {about['description']}\nRequires-Python: {about['requires-python']}\n")


def get_requires_for_build_wheel(config_settings=None):
    return []


def get_requires_for_build_sdist(config_settings=None):
    return []


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    about = project()
    bundled = library()
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    tag = f"py3-none-{platform if bundled else 'any'}"
    information = f"{about['name']}-{about['version']}.dist-info"
    contents = {f"terrace/{path.name}": path.read_bytes()
                for path in sorted((HERE / "terrace").iterdir()) if path.is_file()}
    if bundled:
        contents[f"terrace/{BUNDLED_NAME}"] = bundled.read_bytes()
    contents[f"{information}/METADATA"] = metadata(about).encode()
    contents[f"{information}/WHEEL"] = (
        f"Wheel-Version: 1.0\nGenerator: terrace_build\n"
        f"Root-Is-Purelib: {'false' if bundled else 'true'}\nTag: {tag}\n").encode()
    record = ""
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        record += f"{name},sha256={digest},{len(content)}\n"
    contents[f"{information}/RECORD"] = (record + f"{information}/RECORD,,\n").encode()
    wheel = f"{about['name']}-{about['version']}-{tag}.whl"
    with zipfile.ZipFile(pathlib.Path(wheel_directory) / wheel, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in contents.items():
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(entry, content)
    return wheel


def build_sdist(sdist_directory, config_settings=None):
    about = project()
    name = f"{about['name']}-{about['version']}"
    with tarfile.open(pathlib.Path(sdist_directory) / f"{name}.tar.gz", "w:gz") as file:
        for path in ("pyproject.toml", "build_backend", "terrace"):
            file.add(HERE / path, f"{name}/{path}",
                     filter=lambda entry: None if "__pycache__" in entry.name else entry)
    return f"{name}.tar.gz"
