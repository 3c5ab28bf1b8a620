"""The pytest plugin: guests as fixtures, claims about their page tables, and reports that show what the CPU saw.

It is loaded into every pytest run where the lab is installed, so it imports nothing until a test asks for a guest.
README.md ("For test authors") shows all of it at work.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from lab.machine import Machine
    from lab.machine.mailbox import GuestException
    from lab.paging.walk import Walk
    from lab.snapshot import Snapshot
    from lab.testing.assertions import Attempt
    from lab.testing.guests import Guest, Guests, Wish
    from lab.testing.recording import TestRecording

__all__ = ["machine", "booted", "snapshot", "recording", "assert_maps", "assert_faults"]

MARKERS = (
    'guest_ram(size): RAM of the test\'s guest, such as "128M"',
    'cpu(model): CPU model of the guest as QEMU names it, such as "qemu64,+smep"',
    "machine_options(**options): anything else of lab.machine.MachineOptions: machine, append, accel, extra",
    "kvm: run the guest on KVM; skipped where there is none",
    'kernel(path, ready=""): boot this ELF, beside the test or below the root; `ready` is what it writes once it is up',
)

GUESTS: pytest.StashKey[Guests] = pytest.StashKey()
LENT: pytest.StashKey[list[Guest]] = pytest.StashKey()
RECORDING: pytest.StashKey[TestRecording] = pytest.StashKey()


# ------------------------------------------------------------------------------------------------------- options ----


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the plugin's options."""
    group = parser.getgroup("lab", "guests of the paging lab")
    group.addoption("--lab-keep", action="store_true", help="leave the guest of a failed test behind, paused")
    group.addoption("--lab-require", action="store_true", help="fail where a guest cannot be had, instead of skipping")
    parser.addini("lab_kernel", "the kernel that guests boot, from the root directory on; the lab's own by default")


def pytest_configure(config: pytest.Config) -> None:
    """Declare the plugin's markers."""
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)


# ------------------------------------------------------------------------------------------------------ fixtures ----


@pytest.fixture
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine of the test's own, booted and ready."""
    with _lend(request.node, shared=False) as guest:
        yield guest.machine


@pytest.fixture
def booted(request: pytest.FixtureRequest) -> Iterator[Machine]:
    """A machine that tests share, taken back for each to the moment when it had come up: ten times as fast."""
    with _lend(request.node, shared=True) as guest:
        yield guest.machine


@pytest.fixture
def snapshot(request: pytest.FixtureRequest) -> Iterator[Snapshot]:
    """The test's machine at the moment when the test begins; it stays paused until the test ends."""
    guest = _machine_of(request)
    with guest.paused():
        yield guest.snapshot()


@pytest.fixture
def recording(request: pytest.FixtureRequest, tmp_path: Path) -> TestRecording:
    """A recording of the test's machine: `recording.moment("title")` adds a moment, `recording.write()` writes it."""
    from lab.testing.recording import TestRecording

    made = TestRecording(_machine_of(request), request.node.name, tmp_path / "recording.lab")
    request.node.stash[RECORDING] = made
    return made


@pytest.fixture
def assert_maps(request: pytest.FixtureRequest) -> Callable[..., Walk]:
    """`assert_maps(va, pa=…, access="rw-", user="---", memory_type="WB", page_size=…)` for the test's machine."""
    from lab.testing import assertions

    guest = _machine_of(request)

    def check(address: int | str, **claims: Any) -> Walk:
        __tracebackhide__ = True
        with guest.paused():
            return assertions.assert_maps(guest.snapshot(), address, **claims)

    return check


@pytest.fixture
def assert_faults(request: pytest.FixtureRequest) -> Callable[..., GuestException]:
    """`assert_faults(probe, bits="P|W", at=…)` for a probe or call of the test's machine."""
    from lab.testing import assertions

    guest = _machine_of(request)

    def check(attempt: Attempt, bits: str | None = None, *, at: int | None = None) -> GuestException:
        __tracebackhide__ = True
        with guest.paused():
            return assertions.assert_faults(attempt, bits, at=at, snapshot=guest.snapshot())

    return check


def _machine_of(request: pytest.FixtureRequest) -> Machine:
    """The machine that the test has; a shared one where it names none."""
    found: Machine = request.getfixturevalue("machine" if "machine" in request.fixturenames else "booted")
    return found


# -------------------------------------------------------------------------------------------------------- guests ----


@contextmanager
def _lend(item: pytest.Item, *, shared: bool) -> Iterator[Guest]:
    """A guest as the test's markers ask for it; a skip or a failure where it cannot be had."""
    from lab.errors import LabError

    try:
        guests, wish = _guests(item.config), _wish(item)
        lending = (guests.shared if shared else guests.fresh)(wish, item.nodeid)
        guest = lending.__enter__()
    except LabError as error:
        if _is_lack_of_host(item, error) and not item.config.getoption("--lab-require"):
            pytest.skip(str(error))
        raise pytest.fail.Exception(str(error), pytrace=False) from error
    item.stash.setdefault(LENT, []).append(guest)
    try:
        yield guest
    finally:
        lending.__exit__(None, None, None)
        if not shared:
            item.stash[LENT].remove(guest)  # it has ended, and has nothing to tell of what fails from here on


def _is_lack_of_host(item: pytest.Item, error: Exception) -> bool:
    """Whether it is this host that cannot serve the test, rather than the test that asks for what cannot be."""
    from lab.errors import HostError, ImageMissing, QemuFailed

    if isinstance(error, QemuFailed):
        return item.get_closest_marker("kvm") is not None
    if isinstance(error, ImageMissing):
        return _kernel_of(item) is None
    return isinstance(error, HostError)


def _guests(config: pytest.Config) -> Guests:
    """The guests of this session; of this worker, under xdist."""
    from lab.testing.guests import Guests

    if GUESTS not in config.stash:
        config.stash[GUESTS] = Guests(keep=config.getoption("--lab-keep"))
        config.add_cleanup(config.stash[GUESTS].close)
    return config.stash[GUESTS]


def _wish(item: pytest.Item) -> Wish:
    """What the markers of a test, nearest first, and the ini file ask for."""
    from lab.errors import UsageError
    from lab.machine import MachineOptions, parse_size
    from lab.testing.guests import Wish

    values: dict[str, Any] = {}
    for mark in reversed(list(item.iter_markers("machine_options"))):
        values |= {name: tuple(each) if isinstance(each, list) else each for name, each in mark.kwargs.items()}
    if size := _argument(item, "guest_ram"):
        values["ram"] = parse_size(size)
    if model := _argument(item, "cpu"):
        values["cpu"] = model
    if item.get_closest_marker("kvm"):
        values = {"cpu": "host", **values, "accel": "kvm"}
    if kernel := _kernel_of(item):
        values["kernel"] = kernel
    marked = item.get_closest_marker("kernel")
    try:
        options = MachineOptions(**values)
    except TypeError as error:
        raise UsageError(f"a machine cannot be built as the test's markers ask for it: {error}") from error
    return Wish(options, "" if marked is None else marked.kwargs.get("ready", ""))


def _argument(item: pytest.Item, marker: str) -> str | None:
    """What the nearest marker of that name was given."""
    mark = item.get_closest_marker(marker)
    if mark is None:
        return None
    if not mark.args:
        from lab.errors import UsageError

        usage = next(each for each in MARKERS if each.startswith(f"{marker}("))
        raise UsageError(f"@pytest.mark.{marker} has no argument, and needs one: {usage}")
    return str(mark.args[0])


def _kernel_of(item: pytest.Item) -> Path | None:
    """The kernel that a test is to boot: beside its file, else below the root; None for the lab's own."""
    name = _argument(item, "kernel")
    if name is not None and (item.path.parent / name).exists():
        return item.path.parent / name
    name = name or item.config.getini("lab_kernel")
    return item.config.rootpath / name if name else None


# -------------------------------------------------------------------------------------------------------- checks ----


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Take a kernel that was named on the command line, or in `testpaths`, as a file of checks."""
    if file_path.suffix != ".elf" or not parent.session.isinitpath(file_path):
        return None
    from lab.testing.checks import CheckFile

    def lend(item: pytest.Item) -> Any:
        item.add_marker(pytest.mark.kernel(str(file_path)))
        return _lend(item, shared=True)

    return CheckFile.of(parent, file_path, lend)


# ------------------------------------------------------------------------------------------------------- reports ----


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, Any, None]:
    """Add to the report of a failed test what its guests tell, before they are ended."""
    outcome = yield
    report: pytest.TestReport = outcome.get_result()
    if not report.failed:
        return
    error = call.excinfo.value if call.excinfo else None
    report.sections += _sections(item, getattr(error, "__cause__", None) or error)


def _sections(item: pytest.Item, error: BaseException | None) -> Iterator[tuple[str, str]]:
    lent = item.stash.get(LENT, [])
    if not lent and not hasattr(error, "log_tail"):
        return  # no guest has to do with it
    from lab.errors import GuestError
    from lab.testing import sections

    for guest in lent:
        yield from sections.sections_of_guest(guest, error)
    if RECORDING in item.stash:
        yield sections.section_of_recording(item.stash[RECORDING])
    if not lent and isinstance(error, GuestError):
        yield from sections.sections_of_error(error)
    if item.config.getoption("--lab-keep"):
        for guest in lent:
            guest.is_kept = True
            yield sections.section_of_kept(guest)
    yield "repeat", f"cd {shlex.quote(str(item.config.rootpath))} && pytest {shlex.quote(item.nodeid)}"
