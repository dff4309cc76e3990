"""The device guard, compiled once for the torch in use."""

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import torch
from torch.utils.cpp_extension import include_paths, library_paths

_SOURCE = Path(__file__).with_name("guard.cpp")


@cache
def why_not() -> str | None:
    """Why there is no pretend device here, or None once its guard is loaded.

    The compiled file lies in the system's folder for temporary files, named by torch's version and the source, so that
    a machine compiles it once (about ten seconds).
    """
    if torch.cuda.is_available():
        return "this machine has a CUDA device of its own, and torch a guard for it"
    named = hashlib.sha256(f"{torch.__version__} {_SOURCE.read_text()}".encode()).hexdigest()[:16]
    library = Path(tempfile.gettempdir()) / f"afterlogits-pretend-cuda-{os.getuid()}-{named}.so"
    if not library.exists():
        compiler = next(filter(None, map(shutil.which, ("g++", "c++", "clang++"))), None)
        if compiler is None:
            return "no C++ compiler (g++, c++ or clang++) is installed, and the pretend device needs one"
        failed = _compiled(compiler, library)
        if failed is not None:
            return failed
    ctypes.CDLL(str(library))
    return None


def _compiled(compiler: str, library: Path) -> str | None:
    """Compile the guard to ``library``; why that failed, or None."""
    unfinished = library.with_suffix(f".{os.getpid()}.so")
    abi = f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"
    command = [compiler, "-shared", "-fPIC", "-O0", "-std=c++20", abi, str(_SOURCE), "-o", str(unfinished)]
    command += [f"-I{folder}" for folder in include_paths()]
    command += [f"-L{folder}" for folder in library_paths()] + ["-lc10"]  # which torch has loaded already
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if ran.returncode:
        return f"{compiler} cannot compile the pretend device's guard: {ran.stderr.strip().splitlines()[0]}"
    os.replace(unfinished, library)
    return None
