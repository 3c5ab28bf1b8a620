"""The pytest plugin as its users meet it: projects of their own, run by a pytest of their own, on real machines."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.machine import machines, stop
from lab.machine.host import OWN_KERNEL
from lab.timeline.recording import read

pytest_plugins = ["pytester"]
pytestmark = pytest.mark.usefixtures("nothing_left")

HERE = Path(__file__).parent
GUEST = HERE.parents[1] / "guest"

UD2 = b"\x0f\x0b"


def run(pytester: pytest.Pytester, *arguments: str | Path) -> pytest.RunResult:
    """Run pytest on a project: the plugin comes by its entry point, as with anybody who has the package."""
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *arguments, timeout=60)


def sections(result: pytest.RunResult) -> dict[str, str]:
    """The sections of a report by their titles."""
    parts = re.split(r"^-+ ([a-z:A-Z ]+) -+$", result.stdout.str(), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


# --------------------------------------------------------------------------------------------------------- guests ----


def test_machine_of_the_tests_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_answers(machine):
            assert machine.call.lab_ping(41).result == 42

        def test_is_fresh(machine):
            assert machine.call.lab_ping(1).result == 2
            assert machine.log.count("ready") == 1
        """
    )
    run(pytester).assert_outcomes(passed=2)


def test_shared_machine_forgets_what_a_test_did(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        from lab.errors import GuestStopped

        pages, pids = [], []

        @pytest.fixture(autouse=True)
        def note_pid(booted):
            pids.append(booted.qemu.process.pid)

        @pytest.mark.parametrize("round", range(3))
        def test_writes(booted, round):
            assert "leftover" not in booted.log
            assert not booted.call.read_u64(booted.kernel.symbol("lab_mailbox").address + 0x900).result
            pages.append(booted.call.ExAllocatePool(0, 4096).result)
            booted.call.write_u64(booted.kernel.symbol("lab_mailbox").address + 0x900, 1)
            booted.call.DbgPrint("leftover")

        def test_stops_the_guest(booted):
            assert len(set(pages)) == 1
            with pytest.raises(GuestStopped):
                booted.call("KeBugCheckEx", 1, 2, 3, 4, 5)

        def test_leaves_a_breakpoint(booted):
            booted.gdb.break_at("lab_ping")
            booted.stop()

        def test_meets_no_breakpoint(booted):
            assert booted.is_running
            assert booted.call.lab_ping(1).result == 2
            assert len(set(pids)) == 1

        def test_ends_the_machine(booted):
            booted.close()

        def test_has_another_machine(booted):
            assert booted.call.lab_ping(1).result == 2
            assert len(set(pids)) == 2
        """
    )
    run(pytester).assert_outcomes(passed=8)


def test_markers_choose_the_machine(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        pytestmark = [pytest.mark.guest_ram("128M"), pytest.mark.machine_options(append=["verifier"])]

        def test_of_the_module(booted):
            assert booted.memory.banks[-1].end == 128 << 20
            assert booted.snapshot().guest.variable("lab_options")["verifier"] == 1

        @pytest.mark.guest_ram("32M")
        @pytest.mark.cpu("qemu64,+smep")
        @pytest.mark.machine_options(machine="q35")
        def test_of_its_own(machine, snapshot):
            assert machine.memory.banks[-1].end == 32 << 20
            assert snapshot.state.cr4.smep and not snapshot.state.cr4.smap
            assert machine.options.machine == "q35"
            assert snapshot.guest.variable("lab_options")["verifier"] == 1
            assert not machine.is_running

        @pytest.mark.kvm
        @pytest.mark.guest_ram("64M")
        def test_on_kvm(machine):
            assert machine.options.accel == "kvm"
        """
    )
    result = run(pytester, "-rs", "--strict-markers")
    outcomes = result.parseoutcomes()
    assert outcomes.pop("skipped", 0) + outcomes["passed"] == 3
    assert set(outcomes) == {"passed"}


def test_impossible_wishes_fail(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.guest_ram("plenty")
        def test_ram(machine): ...

        @pytest.mark.cpu("abacus")
        def test_cpu(booted): ...

        @pytest.mark.kernel("nowhere.elf")
        def test_kernel(machine): ...

        @pytest.mark.machine_options(wheels=4)
        def test_wheels(machine): ...

        @pytest.mark.cpu()
        def test_no_cpu(machine): ...
        """
    )
    result = run(pytester)
    result.assert_outcomes(errors=5)
    sentences = ["*'plenty' is not a size*", "*abacus*", "*no kernel image at *nowhere.elf*", "*argument 'wheels'*"]
    sentences += ["*@pytest.mark.cpu has no argument, and needs one: cpu(model): *"]
    result.stdout.fnmatch_lines(sentences)


def test_workers_have_guests_of_their_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import os
        import pytest

        @pytest.mark.parametrize("number", range(8))
        def test_guest(booted, number):
            assert not booted.call.read_u64(booted.kernel.symbol("lab_mailbox").address + 0x900).result
            booted.call.write_u64(booted.kernel.symbol("lab_mailbox").address + 0x900, 1)
            with open(f"{os.environ['PYTEST_XDIST_WORKER']}.pid", "w") as file:
                file.write(str(booted.qemu.process.pid))
        """
    )
    run(pytester, "-n", "2").assert_outcomes(passed=8)
    first, second = (path.read_text() for path in pytester.path.glob("*.pid"))
    assert first != second


# -------------------------------------------------------------------------------------------------------- reports ----


def test_failure_shows_what_the_guest_knows(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_claim(booted, assert_maps):
            page = booted.call.ExAllocatePoolWithTag(512, 4096, 0x21212121).result
            booted.call.DbgPrint("page at %p\\n", page)
            assert_maps(page, access="rwx", user="r--", memory_type="UC", page_size=2 << 20)
        """
    )
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            ">*assert_maps(page, access*",
            "E *is not mapped as claimed",
            "E *page size is 4 KiB, not 2 MiB: the walk goes down to PT",
            "E *memory type is WB, not UC: PT bits 7, 4, 3 (PAT PCD PWT) are 0 0 0",
            "E *supervisor access is rw-, not rwx: fetch faults: PT bit 63 (NX) is 1",
            "E *user access is ---, not r--: user read faults: PML4 bit 2 (U) is 0",
            "E *=> pa:0x*  4 KiB  WB  supervisor rw-  user ---",
        ]
    )
    told = sections(result)
    assert "page at FFFFFA80" in told["guest: serial log"]
    assert "paging  4-level" in told["guest: registers"]
    assert re.search(r"1 entry changed\n\n\+ PT .* maps 0xfffffa80", told["guest: page tables"])
    assert "-M microvm" in told["guest: QEMU"]
    assert f"cd {pytester.path} && pytest test_failure_shows_what_the_guest_knows.py::test_claim" in told["repeat"]


def test_fault_that_differs_is_shown_with_its_walk(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_right(booted, assert_faults):
            text = booted.kernel.symbol("lab_ping").address & ~7
            assert assert_faults(booted.call.write_u64(text, 0), bits="P|W", at=text).vector == 14
            assert_faults(booted.call.read_u64(0x10), bits="")

        def test_probes(booted, assert_faults):
            with booted.new_space() as space:
                space.map(0x400000, rights="r--", user=True)
                write = booted.probe("mov [rdi], al", rdi=0x400000, user=True, space=space)
                assert_faults(write, bits="P|W|U", at=0x400000)
                assert_faults(write, bits="W|U")

        def test_wrong_bits(booted, assert_faults):
            assert_faults(booted.call.write_u64(0x10, 0), bits="P|W")

        def test_no_fault(booted, assert_faults):
            assert_faults(booted.call.lab_ping(1), bits="W")

        def test_walk_of_cr2(booted):
            assert booted.call.read_u64(0xfffff88000000000 + (1 << 30)).ok
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=4)
    result.stdout.fnmatch_lines(
        [
            "E *#PF came with P|W|U, not with W|U",
            "E *user write faults: PT bit 1 (W) is 0",
            "E *PT   [[]000[]] @ pa:*  P U NX",
            "E *#PF came with W, not with P|W",
            "E *fault: PML4 bit 0 (P) is 0: not present",
            "E *no exception came, instead of #PF with W",
            "walk 0xfffff88040000000 by cr3 *",
        ]
    )


def test_crash_during_the_boot_is_shown(pytester: pytest.Pytester, changed_kernel: Callable[[bytes], Path]) -> None:
    kernel = changed_kernel(UD2)
    pytester.makepyfile(f"import pytest\n@pytest.mark.kernel({str(kernel)!r})\ndef test_boot(machine): ...")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*triple fault*"])
    told = sections(result)
    assert "rip" in told["guest: registers"]
    assert str(kernel) in told["guest: QEMU"]


def test_keep_leaves_the_guest_of_a_failed_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_passes(machine): ...

        def test_fails(machine):
            machine.gdb.break_at("lab_ping")
            machine.post("lab_ping", 0x1234)
            machine.gdb.wait_stopped()
            assert False

        def test_fails_too(booted):
            assert False

        def test_shared_goes_on(booted):
            assert booted.call.lab_ping(1).ok
        """
    )
    result = run(pytester, "--lab-keep")
    result.assert_outcomes(passed=2, failed=2)
    kept = {each.name: each for each in machines()}
    try:
        assert {each.state for each in kept.values()} == {"paused"}
        names = re.findall(r"^lab stop (\S+)$", result.stdout.str(), re.MULTILINE)
        assert sorted(names) == sorted(kept)
        command = next(line for line in result.stdout.lines if line.startswith("gdb ") and names[0] in line)
        asked = [*command.replace("'", "").split(" -ex ")[0].split(), "-batch", "-nx"]
        gdb = subprocess.run(
            [*asked, "-ex", command.split("-ex ")[1].strip("'"), "-ex", "info registers rip"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "<lab_ping" in gdb.stdout, "the guest is where the breakpoint stopped it"
    finally:
        for name in kept:
            stop(name)


def test_guest_that_has_ended_tells_what_it_can(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def late():
            yield
            assert False, "too late"

        def test_closes_its_machine(machine, recording):
            machine.close()
            assert False

        def test_fails_behind_its_machine(late, machine): ...

        def test_goes_on(machine):
            assert machine.call.lab_ping(1).ok
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=2, failed=1, errors=1)
    told = sections(result)
    assert "this machine has ended" in told["guest: state"]
    assert "this machine has ended" in told["guest: recording"]


def test_recording_holds_the_moments_of_a_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_wrote(booted, recording):
            page = booted.call.ExAllocatePool(0, 4096).result
            moment = recording.moment("A page", "It is at {page}.")
            assert [change.start for change in moment.step.changes] == [page]
            booted.call.ExFreePool(page)
            booted.call.DbgPrint("gone")
            recording.moment("No page")
            recording.write(recording.path.with_name("kept.lab"))

        def test_failed(booted, recording):
            booted.call.ExAllocatePool(0, 4096)
            assert False
        """
    )
    result = run(pytester, "--basetemp", "files")
    result.assert_outcomes(passed=1, failed=1)
    timeline = read(pytester.path / "files" / "test_wrote0" / "kept.lab")
    assert [str(moment.step.title) for moment in timeline] == ["test_wrote", "A page", "No page"]
    assert str(timeline[1].step.text) == "It is at {page}."
    [page] = [change.start for change in timeline.changes(1)]
    assert [timeline.snapshot(number).walk(page).is_mapped for number in range(3)] == [False, True, False]
    assert timeline[2].console == "gone"
    told = sections(result)["guest: recording"]
    assert "--from" in told
    assert len(read(Path(told.split()[-1].partition("@")[0]))) == 2


# --------------------------------------------------------------------------------------- hosts that lack something ----


def test_host_without_qemu_skips_or_fails(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytester.makepyfile("def test_boot(machine): ...\ndef test_shared(booted): ...\ndef test_other(): ...")
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    sentence = "*qemu-system-x86_64 is not installed; install it with: sudo apt-get install qemu-system-x86*"
    result = run(pytester, "-rs")
    result.assert_outcomes(passed=1, skipped=2)
    result.stdout.fnmatch_lines([sentence])
    result = run(pytester, "--lab-require")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines([sentence])


def test_pytest_run_without_guests_imports_nothing_of_ours(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_imported():
            ours = {name for name in sys.modules if name == "lab" or name.startswith("lab.")}
            assert ours == {"lab", "lab.pytest_plugin"}
        """
    )
    run(pytester, "-p", "no:hypothesispytest").assert_outcomes(passed=1)


# --------------------------------------------------------------------------------------------------------- checks ----


def test_checks_of_a_kernel_are_items(pytester: pytest.Pytester) -> None:
    result = run(pytester, "-v", OWN_KERNEL, "-n", "2")
    passed = result.parseoutcomes()["passed"]
    assert set(result.parseoutcomes()) == {"passed"}
    assert passed >= 9
    result.stdout.fnmatch_lines_random(["*kernel.elf::frames_are_handed_out_once*"])
    run(pytester, f"{OWN_KERNEL}::pool_blocks_are_apart").assert_outcomes(passed=1)
    run(pytester, OWN_KERNEL, "-k", "pool_").assert_outcomes(passed=2, deselected=passed - 2)


@pytest.fixture
def kernel_with_checks(pytester: pytest.Pytester) -> Path:
    """A kernel of somebody else's who uses our header, and most of our objects: with three more checks."""
    source = pytester.path / "more.c"
    source.write_text(
        """
        #include "lab.h"

        CHECK(passes) {
            lab_check(lab_mailbox.magic == LAB_MAILBOX_MAGIC, "no mailbox");
        }

        static void deeper(u64 number) {
            lab_check(number == 42, "the number is %llu at %p", number, (void *)0x1000);
        }

        CHECK(fails) {
            deeper(42);
            deeper(43);
        }

        CHECK(reads_the_null_page) {
            log_print("%c", *(const volatile char *)16);
        }
        """
    )
    zig = [sys.executable, "-m", "ziglang"]
    kernel, guest, more = pytester.path / "mine.elf", GUEST, pytester.path / "more.o"
    target = ["-target", "x86_64-freestanding-none", "-mcpu=x86_64-mmx-sse-sse2+soft_float", "-fno-sanitize=all"]
    flags = ["-std=gnu11", "-O2", "-g", "-fPIE", "-ffreestanding", "-mno-red-zone", "-fvisibility=hidden"]
    subprocess.run([*zig, "cc", *target, *flags, f"-I{guest}/include", "-c", source, "-o", more], check=True)
    linker = ["-T", guest / "boot/kernel.ld", "-static", "-z", "max-page-size=4096", "--build-id=sha1"]
    linker += ["--no-dynamic-linker", "--eh-frame-hdr", "-o", kernel]
    subprocess.run([*zig, "ld.lld", *linker, *sorted((OWN_KERNEL.parent / "build").rglob("*.o")), more], check=True)
    subprocess.run([sys.executable, "-m", "lab.kernel.extract", kernel, kernel.with_suffix(".json")], check=True)
    return kernel


def test_check_that_fails_says_where_and_what(pytester: pytest.Pytester, kernel_with_checks: Path) -> None:
    result = run(pytester, kernel_with_checks)
    outcomes = result.parseoutcomes()
    assert outcomes["failed"] == 2
    assert outcomes["passed"] >= 10
    result.stdout.fnmatch_lines(
        [
            "fails (*more.c:12)",
            "*more.c:9: number == 42: the number is 43 at 0000000000001000",
            "check failed at *more.c:9: number == 42: *",
            "reads_the_null_page (*more.c:17)",
            "#PF at 0x0000000000000010: supervisor read, page not present * in *(lab_check_reads_the_null_page*)",
            "walk 0x0000000000000010 by cr3 *",
            "  => fault: PML4 bit 0 (P) is 0: not present",
        ]
    )
    assert "mine.elf::reads_the_null_page" in sections(result)["repeat"]


def test_other_elf_files_are_left_alone(pytester: pytest.Pytester) -> None:
    shutil.copy(OWN_KERNEL, pytester.path / "image.elf")
    pytester.makepyfile("def test_something(): ...")
    run(pytester).assert_outcomes(passed=1)
    result = run(pytester, "image.elf")
    result.stdout.fnmatch_lines(["*image.json: No such file or directory*"])


# ---------------------------------------------------------------------------------------------- an outside project ----


@pytest.fixture
def outside_kernel(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kernel of somebody else's, built in a project of somebody else's."""
    monkeypatch.setenv("ZIG_GLOBAL_CACHE_DIR", str(pytester.path / "zig"))
    zig = [sys.executable, "-m", "ziglang"]
    kernel = pytester.mkdir("build") / "kernel.elf"
    code = pytester.path / "outside.o"
    target = ["-target", "x86_64-freestanding-none"]
    subprocess.run([*zig, "cc", *target, "-c", HERE / "outside.S", "-o", code], check=True)
    subprocess.run([*zig, "ld.lld", "-T", HERE / "outside.ld", "-static", "-o", kernel, code], check=True)
    return kernel


def test_outside_project_tests_its_own_kernel(pytester: pytest.Pytester, outside_kernel: Path) -> None:
    pytester.makeini("[pytest]\nlab_kernel = build/kernel.elf\n")
    pytester.makepyfile(
        test_by_ini="""
        def test_x(machine):
            machine.wait_log("up")
            assert machine.registers().efer & 1 << 10
            assert machine.memory.read(machine.snapshot().state.root, 1) == b"\\x23"
            assert machine.gdb.backtrace()[0].function
        """,
        test_by_marker="""
        import pytest

        pytestmark = pytest.mark.kernel("build/kernel.elf", ready="up")

        @pytest.mark.parametrize("round", range(2))
        def test_woken(booted, round):
            assert booted.log == "up\\n"
            booted.gdb.write(booted.gdb.number("&wake"), b"\\x01")
            booted.wait_log("woken")

        def test_maps(booted, assert_maps, snapshot):
            assert_maps(0x100000, pa=0x100000, access="rwx", user="---", memory_type="WB", page_size=2 << 20)
            assert not snapshot.walk(snapshot.resolve("0x200000")).is_mapped
            assert booted.qmp.gva2gpa(0x100000) == 0x100000

        def test_fails(booted, assert_maps):
            assert_maps(0x200000)
        """,
    )
    result = run(pytester)
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(["E *0x0000000000200000 is not mapped: PD bit 0 (P) is 0: not present"])
    told = sections(result)
    assert told["guest: serial log"] == "\nup\n"
    assert "paging  4-level" in told["guest: registers"]
    assert str(outside_kernel) in told["guest: QEMU"]
    assert outside_kernel.name == OWN_KERNEL.name, "no name makes a kernel ours"
