"""What the library does at its border to other processes and users: report files, planted links,
folders that cannot be written, and programs that run with rights their caller lacks.

Method: small programs run preloaded, or linked to libholdfast.so and setuid to another user; looked
at are files with their modes, streams, statuses and the options in force.
"""

from __future__ import annotations

import os
import pwd
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

import pytest
from test_preload_environment import DOUBLE_FREE, library, run
from test_programs import LIMIT_S

__all__ = ["library"]

SHOW_PROFILE = """
#include <holdfast/holdfast.h>
#include <stdio.h>
int main(void) {
    char text[16];
    hf_options_text(hf_options_active(), "profile", text, sizeof text);
    return (hf_malloc(1) == NULL) + (puts(text) < 0);
}
"""


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_report_files_are_their_owners_alone(library: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    before = os.umask(0)
    try:
        run(DOUBLE_FREE, library, tmp_path, HOLDFAST_REPORT_DIR=str(folder))
    finally:
        os.umask(before)
    found = {path.suffix: mode_of(path) for path in folder.iterdir()}
    assert found == {".json": 0o600, ".smaps": 0o600, ".segments": 0o600, ".reports": 0o600}


def test_planted_link_is_not_followed(library: Path, tmp_path: Path) -> None:
    folder, victim = tmp_path / "reports", tmp_path / "victim"
    folder.mkdir()
    victim.write_text("precious")
    plant = f"""
import os
for kind in ("json", "json.part", "smaps", "segments", "reports"):
    os.symlink({str(victim)!r}, {str(folder)!r} + f"/{{os.getpid()}}.{{kind}}")
"""
    done = run(plant + DOUBLE_FREE, library, tmp_path, HOLDFAST_REPORT_DIR=str(folder))
    assert (done.returncode, done.stdout) == (0, "still here\n")
    assert victim.read_text() == "precious"


@pytest.mark.parametrize("folder", ["/nonexistent/folder", "/proc/self", "/dev/null"])
def test_folder_that_cannot_be_written_changes_nothing(
    folder: str, library: Path, tmp_path: Path
) -> None:
    done = run("print('hello')", library, tmp_path, HOLDFAST_REPORT_DIR=folder)
    assert (done.returncode, done.stdout, done.stderr) == (0, "hello\n", "")


def test_killed_process_leaves_the_reports_made_so_far(library: Path, tmp_path: Path) -> None:
    folder = tmp_path / "reports"
    folder.mkdir()
    kill = "\nimport os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n"
    done = run(DOUBLE_FREE + kill, library, tmp_path, HOLDFAST_REPORT_DIR=str(folder))
    assert done.returncode == -9
    assert [path.suffix for path in folder.iterdir()] == [".reports"]
    assert '"DOUBLE_FREE"' in next(folder.iterdir()).read_text()


def build(folder: Path, library: Path) -> Path:
    compiler = shutil.which("cc")
    core = library.with_name("libholdfast.so")
    if compiler is None or not core.exists():
        pytest.skip("needs a C compiler and libholdfast.so")
    root = Path(__file__).resolve().parents[2]
    (folder / "show.c").write_text(SHOW_PROFILE)
    shutil.copy(core, folder / "libholdfast.so")
    words = [compiler, "show.c", "-o", "show", f"-I{root / 'include'}", "-L.", "-lholdfast"]
    subprocess.run([*words, f"-Wl,-rpath,{folder}"], cwd=folder, check=True, timeout=LIMIT_S)
    return folder / "show"


def profile_of(program: Path) -> str:
    variables = {"HOLDFAST_PROFILE": "fast", "PATH": os.environ["PATH"]}
    words = [str(program)]
    done = subprocess.run(
        words, capture_output=True, text=True, env=variables, timeout=LIMIT_S, check=True
    )
    return done.stdout.strip()


def test_setuid_program_takes_no_options_from_its_caller(library: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make a program of another user setuid")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = build(folder, library)
        assert profile_of(program) == "fast"
        folder.chmod(0o755)  # the other user must reach the program and its library
        (folder / "libholdfast.so").chmod(0o755)
        os.chown(program, pwd.getpwnam("nobody").pw_uid, -1)
        program.chmod(0o4755)
        if os.statvfs(program).f_flag & os.ST_NOSUID:
            pytest.skip("setuid is switched off where temporary files are")
        assert profile_of(program) == "checked"
