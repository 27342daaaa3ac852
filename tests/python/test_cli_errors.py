"""What cannot be run is refused before anything starts, in one sentence, with a shell's status.

Method: one test per reason; cli_tools.refused() insists on one line, no stdout, no traceback.
"""

from __future__ import annotations

import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from cli_tools import environment, holdfast, refused, script, tool
from holdfast.cli import settings, target
from holdfast.cli.errors import UsageError


def compiled(folder: Path, text: str, *flags: str, name: str = "program") -> Path:
    source, target = folder / f"{name}.c", folder / name
    source.write_text(text)
    done = subprocess.run([tool("cc"), *flags, "-o", target, source], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"the C compiler cannot make this: {done.stderr.decode().splitlines()[-1]}")
    return target


# --- command line ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "a program to run is missing"),
        (["--"], "a program to run is missing"),
        (["-m"], "a module behind -m is missing"),
        (["--profil", "fast", "x.py"], "unknown option --profil; did you mean --profile?"),
        (["--zzz", "x.py"], "unknown option --zzz; try --help"),
        (["--profile"], "--profile needs a value"),
        (["--quiet=1", "x.py"], "--quiet takes no value"),
        (["--option", "limit", "x.py"], "--option needs NAME=VALUE, not 'limit'"),
        (["--json", "-", "x.py"], "standard output belongs to the program"),
        (["-"], "a script from standard input is not supported"),
    ],
)
def test_wrong_command_line(words: list[str], said: str) -> None:
    assert said in refused(words)


def test_unknown_command_and_no_command() -> None:
    assert holdfast("rnu").stderr == b"holdfast: unknown command rnu; try holdfast --help\n"
    assert holdfast("rnu").returncode == 2
    assert holdfast().returncode == 2


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["run", "--help"], ["run", "-h", "x"]])
def test_help_goes_to_stdout_within_80_columns(words: list[str]) -> None:
    done = holdfast(*words)
    assert done.returncode == 0
    assert done.stderr == b""
    assert b"usage: holdfast" in done.stdout
    assert max(len(line) for line in done.stdout.decode().splitlines()) <= 80


def test_help_names_every_switch() -> None:
    said = holdfast("run", "--help").stdout.decode()
    assert all(f"  {flag.name}" in said for flag in settings.FLAGS)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--profile=hardend"], "hardened"),
        (["--option", "nonsense=1"], "nonsense"),
        (["--limit=lots"], "lots"),
        (["--profile=fast", "--sites=all"], "sites=all with profile=fast"),
    ],
)
def test_options_the_core_refuses(words: list[str], said: str) -> None:
    pytest.importorskip("holdfast._core")
    assert said in refused([*words, "-c", "pass"])


# --- targets ---------------------------------------------------------------------------------


def test_missing_script() -> None:
    assert refused(["no/such.py"]) == "no/such.py: no such file"


def test_command_without_dashes_is_told_apart_from_a_missing_script() -> None:
    assert "holdfast run -- sh" in refused(["sh"])


def test_program_given_as_script(tmp_path: Path) -> None:
    path = tmp_path / "prog"
    path.write_bytes(Path("/bin/sh").read_bytes()[:4096])
    assert f"holdfast run -- {path}" in refused([path])


def test_directory_without_main(tmp_path: Path) -> None:
    assert "is a directory without a __main__.py" in refused([tmp_path])


def test_unreadable_script(tmp_path: Path) -> None:
    if os.getuid() == 0:
        pytest.skip("root can read everything")
    path = script(tmp_path, "")
    path.chmod(0)
    assert "cannot be read: permission denied" in refused([path])


def test_command_not_found_is_127() -> None:
    assert refused(["--", "no-such-command"], 127) == "no-such-command: command not found"
    assert refused(["--", "/no/such"], 127) == "/no/such: no such file"


def test_directory_as_command_is_126(tmp_path: Path) -> None:
    assert refused(["--", tmp_path], 126).endswith("is a directory")


def test_not_executable_is_126(tmp_path: Path) -> None:
    assert refused(["--", script(tmp_path, "")], 126).endswith("is not executable")


def test_executable_that_is_nothing_is_126(tmp_path: Path) -> None:
    path = script(tmp_path, "hello\n")
    path.chmod(0o755)
    assert "neither a program nor a script" in refused(["--", path], 126)


def test_missing_interpreter_is_126(tmp_path: Path) -> None:
    path = script(tmp_path, "#!/no/such/python\n")
    path.chmod(0o755)
    assert "asks for the interpreter /no/such/python" in refused(["--", path], 126)


def test_missing_interpreter_behind_env_is_127(tmp_path: Path) -> None:
    path = script(tmp_path, "#!/usr/bin/env no-such-python\n")
    path.chmod(0o755)
    assert "no-such-python, which is not in PATH" in refused(["--", path], 127)


def test_static_program(tmp_path: Path) -> None:
    path = compiled(tmp_path, "int main(void) { return 0; }\n", "-static")
    assert "is statically linked" in refused(["--", path])


def test_script_with_static_interpreter(tmp_path: Path) -> None:
    program = compiled(tmp_path, "int main(void) { return 0; }\n", "-static")
    path = script(tmp_path, f"#!{program}\n")
    path.chmod(0o755)
    assert "is statically linked" in refused(["--", path])


def header(machine: int, bits: int) -> bytes:
    """The start of a program for another machine."""
    ident = b"\x7fELF" + bytes([bits // 32, 1, 1]) + bytes(9)
    word = "Q" if bits == 64 else "I"
    return (
        ident + struct.pack(f"<HHI3{word}I6H", 2, machine, 1, 0, 0, 0, 0, 64, 0, 0, 0, 0, 0)
    ).ljust(128, b"\0")


@pytest.mark.parametrize(
    ("machine", "bits", "said"),
    [(0xB7, 64, "64-bit program for AArch64"), (0x03, 32, "32-bit program for x86"),
     (0xF3, 64, "RISC-V"), (0x7777, 64, "machine 30583")],
)  # fmt: skip
def test_other_architecture(tmp_path: Path, machine: int, bits: int, said: str) -> None:
    if os.uname().machine == "aarch64" and machine == 0xB7:
        machine, said = 0x3E, "64-bit program for x86-64"
    path = tmp_path / "foreign"
    path.write_bytes(header(machine, bits))
    path.chmod(0o755)
    text = refused(["--", path])
    assert said in text
    assert "holdfast is built for" in text


def test_cut_short_program_is_refused_without_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(Path("/bin/sh").read_bytes()[:70])
    path.chmod(0o755)
    refused(["--", path])


def test_setuid_program_of_another_user(tmp_path: Path) -> None:
    if os.getuid() != 0:
        path = Path("/usr/bin/passwd")
        if not path.exists() or not path.stat().st_mode & 0o4000:
            pytest.skip("no set-user-ID program of another user here")
    else:
        path = tmp_path / "prog"
        path.write_bytes(Path("/bin/true").read_bytes())
        os.chown(path, 65534, -1)
        path.chmod(0o4755)
    assert "is set-user-ID" in refused(["--", path])


def test_setgid_program_of_another_group(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can make one")
    path = tmp_path / "prog"
    path.write_bytes(Path("/bin/true").read_bytes())
    os.chown(path, -1, 65534)
    path.chmod(0o2755)
    assert "is set-group-ID" in refused(["--", path])


def test_file_capabilities(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target.os, "getuid", lambda: 1000)
    monkeypatch.setattr(target.os, "getxattr", lambda path, name: b"\1\0\0\2" + bytes(16))
    with pytest.raises(UsageError, match="has file capabilities"):
        target.check_executable(sys.executable, sys.executable)


# --- surroundings ----------------------------------------------------------------------------


def test_other_allocator_in_ld_preload_by_name(tmp_path: Path) -> None:
    library = compiled(tmp_path, "int x;\n", "-shared", "-fPIC", name="libjemalloc.so.2")
    said = refused(["-c", "pass"], env=environment(LD_PRELOAD=str(library)))
    assert said.startswith(f"LD_PRELOAD already holds {library}, which replaces malloc as well")


def test_other_allocator_in_ld_preload_by_what_it_exports(tmp_path: Path) -> None:
    text = "#include <stddef.h>\nvoid *malloc(size_t n) { (void)n; return NULL; }\n"
    library = compiled(tmp_path, text, "-shared", "-fPIC", name="innocent.so")
    with pytest.raises(UsageError, match=r"innocent\.so, which replaces malloc as well"):
        target.check_preloads([str(library)])


def test_missing_library(tmp_path: Path) -> None:
    env = environment(HOLDFAST_LIBRARY=str(tmp_path / "gone.so"))
    assert "gone.so is missing; install holdfast again" in refused(["-c", "pass"], env=env)


def test_library_the_loader_cannot_name(tmp_path: Path) -> None:
    folder = tmp_path / "with space"
    folder.mkdir()
    library = folder / "libholdfast_malloc.so"
    library.write_bytes(b"")
    env = environment(HOLDFAST_LIBRARY=str(library))
    assert "its name has a space or colon in it" in refused(["-c", "pass"], env=env)


def test_json_file_that_cannot_be_written(tmp_path: Path) -> None:
    assert "there is no directory" in refused(["--json", tmp_path / "no/r.json", "-c", "pass"])
    assert "is a directory" in refused(["--json", tmp_path, "-c", "pass"])


def test_program_does_not_start_when_something_is_wrong(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    refused(["--json", tmp_path, "-c", f"open({str(mark)!r}, 'w')"])
    assert not mark.exists()


def test_no_directory_for_reports(tmp_path: Path) -> None:
    env = environment(TMPDIR=str(tmp_path / "gone"))
    assert "no directory for reports could be made" in refused(["-c", "pass"], env=env)


# --- report, explain -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "said"),
    [(None, "cannot be read"), ("not json", "is not JSON"), ("[]", "is not a report"),
     ('{"schema": "holdfast.run", "schema_version": 99}', "schema version 99"),
     ('{"schema": "holdfast.run", "schema_version": 1}', "damaged")],
)  # fmt: skip
def test_report_refuses_what_is_none(tmp_path: Path, text: str | None, said: str) -> None:
    path = tmp_path / "r.json"
    if text is not None:
        path.write_text(text)
    done = holdfast("report", path)
    assert done.returncode == 2
    assert said in done.stderr.decode()


def test_explain_knows_its_kinds() -> None:
    assert b"OVERFLOW" in holdfast("explain").stdout
    assert b"docs/failure-modes.md#double-free" in holdfast("explain", "double-free").stdout
    assert holdfast("explain", "nothing").returncode == 2


def test_options_lists_every_row_of_the_table() -> None:
    pytest.importorskip("holdfast._core")
    table = Path(__file__).resolve().parents[2] / "include/holdfast/options.def"
    names = re.findall(r"^HF_OPTION_\w+\((\w+),", table.read_text(), re.MULTILINE)
    said = holdfast("options").stdout.decode()
    assert [line.split("=")[0] for line in said.splitlines() if not line.startswith(" ")] == names
