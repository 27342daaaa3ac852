"""`holdfast run` runs a program as if it were not there, and reports at the end.

Method: the command line as users type it, in processes of their own; each test compares with what
the program does without holdfast, or with what it itself saw.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cli_tools import HOLDFAST, WATCHDOG, environment, holdfast, script, tool

ECHO = """
import json, os, sys
json.dump([sys.argv, os.getcwd(), sys.stdin.buffer.read().decode("latin-1"), sys.flags.isolated,
           os.environ.get("LD_PRELOAD", ""), sys.path[0]], sys.stdout)
"""


def written(tmp_path: Path, *words: str | Path) -> dict[str, Any]:
    """The JSON of a run that succeeds."""
    target = tmp_path / "report.json"
    done = holdfast("run", "--quiet", "--json", target, *words)
    assert done.returncode == 0, done.stderr.decode()
    found = json.loads(target.read_text())
    assert isinstance(found, dict)
    return found


# --- the program is left alone ---------------------------------------------------------------


def test_script_sees_its_arguments_directory_and_input(tmp_path: Path) -> None:
    path = script(tmp_path, ECHO)
    words = ["--profile=fast", "-m", "a b", "--", "", "ü"]
    done = holdfast("run", path, *words, stdin=b"\x00\xffline\n", cwd=tmp_path)
    argv, cwd, stdin, isolated, preload, first = json.loads(done.stdout)
    assert argv == [str(path), *words]
    assert cwd == os.path.realpath(tmp_path)
    assert stdin == "\x00\xffline\n"
    assert isolated == 0
    assert first == os.path.realpath(tmp_path)
    assert "libholdfast_malloc.so" in preload


def test_relative_script_is_found_from_the_working_directory(tmp_path: Path) -> None:
    script(tmp_path, "print('here')", "rel.py")
    done = holdfast("run", "rel.py", cwd=tmp_path)
    assert done.stdout == b"here\n"


def test_module_runs_like_python_m(tmp_path: Path) -> None:
    script(tmp_path, "import sys; print(__name__, sys.argv[1:])", "some_module.py")
    done = holdfast("run", "-m", "some_module", "-x", "--quiet", cwd=tmp_path)
    assert done.stdout == b"__main__ ['-x', '--quiet']\n"


def test_code_runs_like_python_c() -> None:
    done = holdfast("run", "-c", "import sys; print(sys.argv)", "one")
    assert done.stdout == b"['-c', 'one']\n"


def test_directory_with_main_runs_like_python(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    script(folder, "print('packed')", "__main__.py")
    assert holdfast("run", folder).stdout == b"packed\n"


def test_command_is_found_in_path_and_gets_its_arguments() -> None:
    done = holdfast("run", "--", "printf", "%s|", "a", "-m", "--quiet")
    assert done.stdout == b"a|-m|--quiet|"
    assert done.returncode == 0


def test_shebang_script_runs_as_command(tmp_path: Path) -> None:
    path = script(tmp_path, f"#!{sys.executable}\nprint('by its first line')\n", "tool")
    path.chmod(0o755)
    assert holdfast("run", "--", path).stdout == b"by its first line\n"


def test_stdout_is_the_programs_byte_for_byte(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "data").write_bytes(data)
    done = holdfast("run", "--", "cat", tmp_path / "data")
    assert done.stdout == data
    assert b"Resident memory at exit" in done.stderr


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- 2>&-", "<&- >&- 2>&-"])
def test_closed_descriptors_stay_closed_and_change_nothing(closed: str, tmp_path: Path) -> None:
    code = "import os; os.listdir('/proc/self/fd'); raise SystemExit(7)"
    path = script(tmp_path, code)
    line = f'"$@" {closed}'
    words = ["sh", "-c", line, "sh", *HOLDFAST, "run", str(path)]
    done = subprocess.run(
        words, capture_output=True, env=environment(), timeout=WATCHDOG, check=False
    )
    assert done.returncode == 7
    assert done.stdout == b""
    assert b"Traceback" not in done.stderr
    assert (done.stderr == b"") == ("2>&-" in closed)


def test_no_descriptor_leaks_into_the_program() -> None:
    code = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd')))"
    plain = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert holdfast("run", "-c", code).stdout == plain.stdout


def test_program_gets_the_signal_setup_of_a_shell() -> None:
    def standard(status: bytes) -> list[int]:
        # glibc's posix_spawn ignores the two real-time signals it keeps for threads.
        masks = re.findall(rb"^Sig(?:Blk|Ign):\s(\w+)$", status, re.MULTILINE)
        return [int(mask, 16) & 0x7FFF_FFFF for mask in masks]

    words = ["cat", "/proc/self/status"]
    plain = subprocess.run(words, capture_output=True, check=True).stdout
    assert len(standard(plain)) == 2
    assert standard(holdfast("run", "--", *words).stdout) == standard(plain)


# --- exit status -----------------------------------------------------------------------------


@pytest.mark.parametrize("status", [0, 1, 3, 127, 255])
def test_exit_status_is_the_programs(status: int) -> None:
    assert holdfast("run", "-c", f"raise SystemExit({status})").returncode == status


@pytest.mark.parametrize("status", [0, 7])
def test_exit_status_without_atexit_is_the_programs(status: int) -> None:
    assert holdfast("run", "-c", f"import os; os._exit({status})").returncode == status


@pytest.mark.parametrize("name", ["SIGTERM", "SIGKILL", "SIGSEGV", "SIGABRT", "SIGINT"])
def test_death_by_signal_is_died_as_well(name: str) -> None:
    number = signal.Signals[name]
    code = f"import os, signal; signal.signal({int(number)}, signal.SIG_DFL)" if number != 9 else ""
    done = holdfast("run", "-c", f"{code or 'import os'}\nos.kill(os.getpid(), {int(number)})")
    assert done.returncode == -number
    assert f"killed by {name}".encode() in done.stderr
    assert b"before it could write its final report" in done.stderr


def test_shell_sees_128_plus_signal() -> None:
    line = "\"$@\" run -q -- sh -c 'kill -TERM $$'; echo $?"
    done = subprocess.run(
        ["sh", "-c", line, "sh", *HOLDFAST],
        capture_output=True,
        env=environment(),
        timeout=WATCHDOG,
        check=False,
    )
    assert done.stdout == b"143\n"


# --- what is written -------------------------------------------------------------------------


def test_quiet_writes_nothing() -> None:
    assert holdfast("run", "--quiet", "-c", "pass").stderr == b""
    assert holdfast("run", "-qq", "-c", "pass").stderr == b""


def test_report_is_plain_text_when_stderr_is_no_terminal() -> None:
    text = holdfast("run", "-c", "pass").stderr.decode()
    assert "\x1b" not in text
    assert "exit          status 0" in text
    assert "Resident memory at exit" in text


def test_report_is_in_colour_on_a_terminal() -> None:
    pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    done = subprocess.Popen(
        [*HOLDFAST, "run", "-c", "print('out')"],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=environment(TERM="xterm-256color", COLUMNS="80"),
    )
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 65536):
            said += chunk
    except OSError:
        pass  # the last one closed its end
    stdout, _ = done.communicate(timeout=WATCHDOG)
    os.close(ours)
    assert stdout == b"out\n"
    assert b"\x1b[" in said
    assert "─".encode() in said
    bare = re.sub(r"\x1b\[[0-9;]*m", "", said.decode())
    assert max(len(line.rstrip("\r")) for line in bare.split("\n")) <= 80


def test_composition_of_a_real_process_adds_up(tmp_path: Path) -> None:
    found = written(
        tmp_path, "-c", "x = [bytes(1000) for _ in range(20000)]; import os; os._exit(0)"
    )
    rss = found["process"]["rss"]
    assert sum(value for name, value in rss.items() if name != "total") == rss["total"]
    assert all(value >= 0 for value in rss.values())
    assert rss["code"] > 1_000_000
    assert 5_000_000 < rss["total"] <= found["process"]["peak_rss"] + 1_000_000


def test_json_has_schema_command_times_and_heap(tmp_path: Path) -> None:
    found = written(tmp_path, "-c", "print(1)")
    assert (found["schema"], found["schema_version"]) == ("holdfast.run", 1)
    assert found["command"] == [sys.executable, "-c", "print(1)"]
    assert found["exit"] == {"code": 0, "signal": None, "core_dumped": False}
    assert found["time"]["wall_s"] > 0
    assert found["process"]["heap"]["stats"]["allocs"] > 0
    assert found["notes"] == []


def test_json_follows_its_page(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/report-json.md").read_text()
    named = set(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE))
    found = written(tmp_path, "-c", "pass")
    for part in (found, found["exit"], found["time"], found["process"], found["process"]["rss"]):
        assert set(part) <= named


def test_json_goes_with_the_report_and_can_be_shown_again(tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    done = holdfast("run", "--json", target, "-c", "pass")
    shown = holdfast("report", target)
    assert shown.returncode == 0
    assert shown.stdout == done.stderr


def test_nothing_is_left_in_the_temporary_directory(tmp_path: Path) -> None:
    env = environment(TMPDIR=str(tmp_path))
    assert holdfast("run", "-c", "pass", env=env).returncode == 0
    assert holdfast("run", "-c", "import os; os.kill(os.getpid(), 9)", env=env).returncode == -9
    assert list(tmp_path.iterdir()) == []


# --- options ---------------------------------------------------------------------------------


def test_switches_become_environment_variables() -> None:
    code = (
        "import os, json; print(json.dumps({k: v for k, v in os.environ.items() if 'HOLDF' in k}))"
    )
    words = ["--profile", "hardened", "--limit=3G", "--on-corruption=abort", "--sites=all"]
    words += ["--python-allocator=none", "--reclaim=serial", "--decay-ms=100"]
    words += ["--option", "fit=best", "--option=LARGE-CACHE=1M"]
    seen = json.loads(holdfast("run", *words, "-c", code).stdout)
    seen.pop("HOLDFAST_LIBRARY", None)
    assert os.path.basename(seen.pop("HOLDFAST_REPORT_DIR")).startswith("holdfast-")
    assert seen == {
        "HOLDFAST_PROFILE": "hardened",
        "HOLDFAST_LIMIT": "3G",
        "HOLDFAST_ON_CORRUPTION": "abort",
        "HOLDFAST_SITES": "all",
        "HOLDFAST_PYTHON_ALLOCATOR": "none",
        "HOLDFAST_RECLAIM": "serial",
        "HOLDFAST_DECAY_MS": "100",
        "HOLDFAST_FIT": "best",
        "HOLDFAST_LARGE_CACHE": "1M",
    }


def test_all_sites_are_those_of_python_s_objects_too() -> None:
    code = "import os; print(os.environ.get('HOLDFAST_PYTHON_ALLOCATOR'))"

    def chosen(*words: str, **variables: str) -> str:
        env = environment(**variables)
        return holdfast("run", *words, "-c", code, env=env).stdout.decode().strip()

    assert chosen("--sites=all") == "heap"
    assert chosen(HOLDFAST_SITES="all") == "heap"
    assert chosen("--sites=all", "--python-allocator=arenas") == "arenas"
    assert chosen("--sites=all", HOLDFAST_PYTHON_ALLOCATOR="none") == "none"
    assert chosen("--sites=sampled") == "None"


def test_switch_wins_over_the_environment() -> None:
    code = "import os; print(os.environ['HOLDFAST_PROFILE'], os.environ['HOLDFAST_FIT'])"
    env = environment(HOLDFAST_PROFILE="debug", HOLDFAST_FIT="next")
    assert holdfast("run", "--profile=fast", "-c", code, env=env).stdout == b"fast next\n"


def test_harmless_preloads_are_kept_behind(tmp_path: Path) -> None:
    source = tmp_path / "harmless.c"
    source.write_text("int harmless(void) { return 1; }\n")
    library = tmp_path / "harmless.so"
    subprocess.run([tool("cc"), "-shared", "-fPIC", "-o", library, source], check=True)
    code = "import os; print(os.environ['LD_PRELOAD'])"
    env = environment(LD_PRELOAD=f"{library}")
    seen = holdfast("run", "-c", code, env=env).stdout.decode().strip().split(":")
    assert seen[0].endswith("libholdfast_malloc.so")
    assert seen[1:] == [str(library)]


def test_run_inside_run_reports_twice_and_preloads_once() -> None:
    inner = " ".join([*HOLDFAST, "run", "-c", "'import os; print(os.environ[\"LD_PRELOAD\"])'"])
    done = holdfast("run", "--", "sh", "-c", inner)
    assert done.stdout.count(b"libholdfast_malloc.so") == 1
    assert done.stderr.count(b"Resident memory at exit") == 2


# --- children --------------------------------------------------------------------------------

FAMILY = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", "import os; print('LD_PRELOAD' in os.environ)"])
pid = os.fork()
if pid == 0:
    os._exit(0)
os.waitpid(pid, 0)
"""


def test_children_inherit_and_are_in_the_report(tmp_path: Path) -> None:
    path = script(tmp_path, FAMILY)
    target = tmp_path / "r.json"
    done = holdfast("run", "--json", target, path)
    found = json.loads(target.read_text())
    assert done.stdout == b"True\n"
    assert len(found["children"]) == 2
    assert {child["ppid"] for child in found["children"]} == {found["process"]["pid"]}
    assert b"Children (2 processes)" in done.stderr


def test_no_children_leaves_started_programs_alone(tmp_path: Path) -> None:
    path = script(tmp_path, FAMILY)
    target = tmp_path / "r.json"
    done = holdfast("run", "--no-children", "--json", target, path)
    found = json.loads(target.read_text())
    assert done.stdout == b"False\n"
    started = [child for child in found["children"] if len(child["argv"]) > 2]
    assert started == []


def test_exec_keeps_the_report(tmp_path: Path) -> None:
    found = written(tmp_path, "--", "sh", "-c", "exec printf x >/dev/null")
    assert found["process"]["argv"][0].endswith("printf")
    assert found["process"]["rss"] is not None


# --- a real program, and a broken one --------------------------------------------------------


@pytest.mark.parametrize(
    "option", ["--profile=checked", "--profile=fast", "--python-allocator=heap"]
)
def test_example_answers_the_same_with_and_without_holdfast(option: str) -> None:
    example = Path(__file__).resolve().parents[2] / "examples/stdlib_index/index_stdlib.py"
    words = [str(example), "--limit", "40", "--threads", "3"]
    plain = subprocess.run([sys.executable, *words], capture_output=True, check=True)
    done = holdfast("run", option, *words)
    assert done.returncode == 0
    assert done.stdout == plain.stdout
    assert b"none found" in done.stderr


BROKEN = """
#include <stdlib.h>
#include <string.h>
int main(void) {
    char *volatile block = malloc(30);
    memcpy(block + 30, "ABCD", 4);
    free(block);
    return 5;
}
"""


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    source, program = tmp_path / "broken.c", tmp_path / "broken"
    source.write_text(BROKEN)
    subprocess.run([tool("cc"), "-O0", "-w", "-o", program, source], check=True)
    return program


def test_overflow_is_in_the_report_and_the_program_goes_on(broken: Path, tmp_path: Path) -> None:
    target = tmp_path / "r.json"
    done = holdfast("run", "--json", target, "--", broken)
    assert done.returncode == 5
    assert b"holdfast: OVERFLOW: " in done.stderr
    text = done.stderr.decode()
    assert "Corruption (1 report)" in text
    assert "4 B written right past its end" in text
    assert "41 42 43 44  |ABCD|" in text
    (report,) = json.loads(target.read_text())["process"]["reports"]
    assert (report["kind"], report["block_size"], report["damage_offset"]) == ("OVERFLOW", 30, 30)


def test_quiet_keeps_lines_about_corruption_and_double_quiet_does_not(broken: Path) -> None:
    assert b"holdfast: OVERFLOW: " in holdfast("run", "-q", "--", broken).stderr
    assert holdfast("run", "-qq", "--", broken).stderr == b""


def test_abort_policy_aborts_and_still_tells(broken: Path) -> None:
    done = holdfast("run", "--on-corruption=abort", "--", broken)
    assert done.returncode == -signal.SIGABRT
    text = done.stderr.decode()
    assert "killed by SIGABRT" in text
    assert "4 B written right past its end" in text


RAISED = """
import ctypes, sys
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def hurt(size):
    block = libc.malloc(size)
    ctypes.memset(block + size, 65, 3)
    libc.free(ctypes.c_void_p(block))
for size in (40, 50):
    try:
        hurt(size)
        for _ in range(10):
            pass
        print("went on")
    except Exception as error:
        print(type(error).__name__, f"of {size} bytes" in str(error))
hurt(60)
sys.stdout.write("")
"""


@pytest.mark.parametrize("mode", ["arenas", "heap", "none"])
def test_raise_policy_raises_in_a_program_that_does_not_import_holdfast(mode: str) -> None:
    done = holdfast("run", "--on-corruption=raise", f"--python-allocator={mode}", "-c", RAISED)
    assert done.stdout == b"OverflowedBlockError True\n" * 2
    assert done.returncode == 1
    assert b"holdfast.errors.OverflowedBlockError: holdfast: OVERFLOW: " in done.stderr


def test_raise_policy_is_a_runtime_error_where_there_is_no_package() -> None:
    words = ["--on-corruption=raise", "--", sys.executable, "-I", "-S", "-c", RAISED]
    done = holdfast("run", *words)
    assert done.stdout == b"RuntimeError True\n" * 2
    assert done.returncode == 1
    assert b"RuntimeError: holdfast: OVERFLOW: " in done.stderr


def test_limit_fails_allocations_and_is_in_the_report() -> None:
    code = "try:\n    x = bytearray(64 << 20)\nexcept MemoryError:\n    print('refused')"
    done = holdfast("run", "--limit=48M", "-c", code)
    assert done.stdout == b"refused\n"
    assert re.search(rb"failures +[1-9]\d* allocations? failed, [1-9]\d* for a limit", done.stderr)
