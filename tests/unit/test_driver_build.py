"""Driver sources as they are found, built by the real compiler."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import pytest

from lab.errors import UsageError
from lab.machine.driver.build import BuildFailed, Built, build
from lab.machine.driver.pe import DriverImage
from lab.machine.driver.repairs import functions

SAMPLES = Path(__file__).resolve().parents[1] / "drivers"

ENTRY = "NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)"


def made(folder: Path, body: str, name: str = "made.c", **options: object) -> Built:
    """Build a source with the usual header in front."""
    (folder / name).write_text(f"#include <ntddk.h>\n{body}\n")
    return build([folder / name], folder / "made.sys", **options)  # type: ignore[arg-type]


def imported(built: Built) -> set[str]:
    return {each.name for each in DriverImage.load(built.path).imports}


# ---------------------------------------------------------------------------------------------- what builds -------


@pytest.mark.parametrize("sample", sorted(path.name for path in SAMPLES.iterdir() if path.is_file()))
def test_the_samples_build_without_a_word(tmp_path: Path, sample: str) -> None:
    built = build([SAMPLES / sample], tmp_path / "sample.sys")
    image = DriverImage.load(built.path)
    assert built.warnings == []
    assert image.problems == ()
    assert image.checksum == image.actual_checksum
    assert {each.dll for each in image.imports} == {"ntoskrnl.exe"}
    place = image.locate(image.entry)
    assert place is not None
    assert (place.function, place.file) == ("DriverEntry", sample)


def test_a_driver_is_the_same_to_the_bit_wherever_it_is_built(tmp_path: Path) -> None:
    images = []
    for folder in (tmp_path / "one", tmp_path / "two" / "deeper"):
        (folder / "part").mkdir(parents=True)
        (folder / "main.c").write_text(
            f"#include <NTDDK.H>\n{ENTRY} {{ DriverObject->DriverUnload = Unload; ASSERT(Part()); return 0; }}\n"
            "VOID Unload(PDRIVER_OBJECT DriverObject) { }\n"
        )
        (folder / "part" / "part.c").write_text(
            "#include <ntddk.h>\nint Part(void) { DbgPrint(__FILE__ __TIME__); return 1; }"
        )
        sources = [folder / "main.c", folder / "part" / "part.c"]
        images.append(build(sources, folder / "driver.sys").path.read_bytes())
    assert images[0] == images[1]
    assert str(tmp_path).encode() not in images[0]


WILD = """
#pragma warning(push)
#pragma warning(disable: 4100 4201)
#ifdef ALLOC_PRAGMA
#pragma alloc_text(INIT, DriverEntry)
#pragma alloc_text(PAGE, UnloadDriver)
#endif
#define TAG 'dliW'
DRIVER_INITIALIZE DriverEntry;
_Dispatch_type_(IRP_MJ_CREATE) DRIVER_DISPATCH Create;
UNICODE_STRING Name = RTL_CONSTANT_STRING(L"\\\\Device\\\\Wild");

NTSTATUS DriverEntry(_In_ PDRIVER_OBJECT DriverObject, _In_ PUNICODE_STRING RegistryPath)
{
    PVOID block = NULL;
    DECLARE_CONST_UNICODE_STRING(text, L"text");
    UNREFERENCED_PARAMETER(RegistryPath);
    UNREFERENCED_PARAMETER(text);
    DriverObject->DriverUnload = UnloadDriver;
    DriverObject->MajorFunction[IRP_MJ_CREATE] = Create;
    __try {
        block = ExAllocatePoolWithTag(NonPagedPoolNx, PAGE_SIZE, TAG);
        if (!block) __leave;
        KdPrint(("at %p\\n", block));
        DbgPrintEx(DPFLTR_IHVDRIVER_ID, DPFLTR_ERROR_LEVEL, "%wZ\\n", &Name);
        *(volatile ULONG*)0 = Helper(3);
    } __except (EXCEPTION_EXECUTE_HANDLER) {
        KdPrint(("%08x\\n", GetExceptionCode()));
    }
    if (block) ExFreePool(block);
    return STATUS_SUCCESS;
}
NTSTATUS UnloadDriver(IN PDRIVER_OBJECT DriverObject)
{
    PAGED_CODE();
    return STATUS_SUCCESS;
}
NTSTATUS Create(PDEVICE_OBJECT d, PIRP Irp) { IoCompleteRequest(Irp, IO_NO_INCREMENT); return STATUS_SUCCESS; }
static ULONG Helper(int n) { return n; }
#pragma warning(pop)
"""


def test_source_as_found_in_the_wild_builds(tmp_path: Path) -> None:
    built = made(tmp_path, WILD)
    image = DriverImage.load(built.path)
    assert [warning.split(";")[0] for warning in built.warnings if "assumed" in warning] == [
        "made.c:14: warning: DriverEntry is used before it is declared",
        "made.c:40: warning: Helper is used before it is declared",
        "made.c:34: warning: UnloadDriver is used before it is declared",
    ]
    sections = {each.name: each for each in image.sections}
    assert sections["INIT"].discardable
    assert not sections["PAGE"].discardable
    # The mended copy has the lines of the original.
    assert str(image.locate(image.entry)) == "DriverEntry+0x0 (made.c:15)"


NEW_CALLS = """
{ MM_COPY_ADDRESS from; SIZE_T done; PHYSICAL_ADDRESS pa = {0}; POOL_EXTENDED_PARAMETER parameter = {0};
  PVOID p = ExAllocatePool2(POOL_FLAG_NON_PAGED | POOL_FLAG_UNINITIALIZED, 16, 'abcd');
  ExFreePool2(p, 'abcd', NULL, 0);
  parameter.Type = PoolExtendedParameterPriority; parameter.Priority = NormalPoolPriority;
  p = ExAllocatePool3(POOL_FLAG_PAGED, 16, 'abcd', &parameter, 1);
  p = ExAllocatePoolZero(NonPagedPoolNx, 16, 'abcd'); p = ExAllocatePoolUninitialized(PagedPool, 16, 'abcd');
  from.VirtualAddress = p; MmCopyMemory(&p, from, sizeof p, MM_COPY_MEMORY_VIRTUAL, &done);
  p = MmMapIoSpaceEx(pa, PAGE_SIZE, PAGE_READWRITE | PAGE_NOCACHE);
  ObReferenceObjectByHandle(NULL, 0, *PsProcessType, KernelMode, &p, NULL);
  ExInitializeDriverRuntime(DrvRtPoolNxOptIn);
  return MdlMappingNoExecute == 0x40000000 ? STATUS_SUCCESS : STATUS_UNSUCCESSFUL; }
"""


@pytest.mark.parametrize("name", ["made.c", "made.cpp"])
def test_what_mingw_lacks_is_there(tmp_path: Path, name: str) -> None:
    built = made(tmp_path, ('extern "C" ' if name.endswith("cpp") else "") + ENTRY + NEW_CALLS, name)
    assert built.warnings == []
    names = {"ExAllocatePool2", "ExAllocatePool3", "ExFreePool2", "MmCopyMemory", "MmMapIoSpaceEx", "PsProcessType"}
    assert names <= imported(built)


def test_the_safe_string_functions_are_part_of_the_driver(tmp_path: Path) -> None:
    body = (
        "#include <ntstrsafe.h>\n#include <ntintsafe.h>\n"
        f"{ENTRY} {{ WCHAR w[8]; CHAR a[8]; ULONG sum; DECLARE_UNICODE_STRING_SIZE(u, 8);"
        ' RtlStringCbPrintfW(w, sizeof(w), L"%d", 3); RtlStringCchCopyA(a, 8, "text"); RtlStringCchCatA(a, 8, "x");'
        ' RtlUnicodeStringPrintf(&u, L"%ws", w); return RtlULongAdd(1, 2, &sum); }'
    )
    assert imported(made(tmp_path, body)) <= {"_vsnwprintf", "memset"}


LAYOUT = """
#define AT(type, field, offset) C_ASSERT(FIELD_OFFSET(type, field) == offset)
AT(DRIVER_OBJECT, DriverStart, 0x18); AT(DRIVER_OBJECT, DriverExtension, 0x30); AT(DRIVER_OBJECT, DriverUnload, 0x68);
AT(DRIVER_OBJECT, MajorFunction, 0x70); C_ASSERT(sizeof(DRIVER_OBJECT) == 0x150);
AT(DEVICE_OBJECT, DriverObject, 0x08); AT(DEVICE_OBJECT, NextDevice, 0x10); AT(DEVICE_OBJECT, Flags, 0x30);
AT(DEVICE_OBJECT, DeviceExtension, 0x40); AT(DEVICE_OBJECT, StackSize, 0x4c);
AT(IRP, MdlAddress, 0x08); AT(IRP, AssociatedIrp, 0x18); AT(IRP, IoStatus, 0x30); AT(IRP, StackCount, 0x42);
AT(IRP, UserIosb, 0x48); AT(IRP, UserBuffer, 0x70); AT(IRP, Tail.Overlay.CurrentStackLocation, 0xb8);
C_ASSERT(sizeof(IRP) == 0xd0); C_ASSERT(sizeof(IO_STACK_LOCATION) == 0x48);
AT(IO_STACK_LOCATION, Parameters.DeviceIoControl.IoControlCode, 0x18); AT(IO_STACK_LOCATION, DeviceObject, 0x28);
AT(IO_STACK_LOCATION, CompletionRoutine, 0x38);
AT(MDL, MappedSystemVa, 0x18); AT(MDL, ByteOffset, 0x2c); C_ASSERT(sizeof(MDL) == 0x30);
AT(NPAGED_LOOKASIDE_LIST, L.Depth, 0x10); AT(NPAGED_LOOKASIDE_LIST, L.Size, 0x2c);
AT(NPAGED_LOOKASIDE_LIST, L.Allocate, 0x30); C_ASSERT(sizeof(NPAGED_LOOKASIDE_LIST) == 0x80);
C_ASSERT(sizeof(EXCEPTION_RECORD) == 0x98); C_ASSERT(sizeof(CONTEXT) == 0x4d0); C_ASSERT(sizeof(KEVENT) == 0x18);
C_ASSERT(sizeof(KDPC) == 0x40); C_ASSERT(sizeof(KTIMER) == 0x40); C_ASSERT(sizeof(ERESOURCE) == 0x68);
"""


def test_structures_are_laid_out_as_in_windows(tmp_path: Path) -> None:
    assert made(tmp_path, f"{LAYOUT}\n{ENTRY} {{ return 0; }}").warnings == []


def test_headers_are_found_whatever_their_capitals(tmp_path: Path) -> None:
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "first.h").write_text('#include "Second.h"\n')
    (tmp_path / "inc" / "second.h").write_text("#define ANSWER 42\n")
    built = made(tmp_path, f'#include "Inc\\First.H"\n#include <NtStrSafe.h>\n{ENTRY} {{ return ANSWER; }}')
    assert sorted(built.warnings) == [
        "made.c: warning: header Inc\\First.H is spelled first.h",
        "made.c: warning: header NtStrSafe.h is spelled ntstrsafe.h",
        "made.c: warning: header Second.h is spelled second.h",
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1"])
def test_sources_are_read_in_the_encodings_of_windows(tmp_path: Path, encoding: str) -> None:
    text = f"/* \u00fc */\r\n#include <ntddk.h>\r\n{ENTRY} {{ Later(); return 0; }}\r\nvoid Later() {{}}\r\n"
    (tmp_path / "text.c").write_bytes(text.encode(encoding))
    image = DriverImage.load(build([tmp_path / "text.c"], tmp_path / "text.sys").path)
    assert str(image.locate(image.entry)) == "DriverEntry+0x0 (text.c:3)"


def test_warnings_are_told_each_time(tmp_path: Path) -> None:
    for _ in range(2):
        (warning,) = made(tmp_path, f"{ENTRY} {{ NtClose(RegistryPath); return 0; }}").warnings
        assert warning.startswith("made.c:2:83: warning: call to undeclared function 'NtClose'")
        assert "^" in warning


def test_options_reach_the_compiler(tmp_path: Path) -> None:
    (tmp_path / "inc").mkdir()
    (tmp_path / "inc" / "given.h").write_text("#if DBG || GIVEN != 3 || !OTHER\n#error\n#endif\n")
    body = f"#include <given.h>\n{ENTRY} {{ return 0; }}"
    made(tmp_path, body, optimize=True, defines=["GIVEN=3"], include=[tmp_path / "inc"], flags=["-DOTHER=1"])


# ---------------------------------------------------------------------------------- exceptions, by their tables ---


def scopes(image: DriverImage) -> list[tuple[int, int]]:
    """The address ranges of all __try blocks: the scope tables behind the unwind codes of .xdata."""
    assert image.exceptions is not None
    found = []
    for index in range(image.exceptions.count):
        _, _, unwind = struct.unpack_from("<3I", image.mapped, image.exceptions.rva + 12 * index)
        flags, codes = image.mapped[unwind] >> 3, image.mapped[unwind + 2]
        if flags & 3:
            at = unwind + 4 + 2 * (codes + codes % 2) + 4
            (count,) = struct.unpack_from("<I", image.mapped, at)
            found += [struct.unpack_from("<2I", image.mapped, at + 4 + 16 * each) for each in range(count)]
    return found


@pytest.mark.parametrize("optimize", [False, True])
def test_a_faulting_instruction_inside_of_try_has_its_handler(tmp_path: Path, optimize: bool) -> None:
    body = (
        f"{ENTRY} {{ volatile ULONG *p = (volatile ULONG *)RegistryPath;\n"
        "    __try {\n"
        "        *p = 0x12345678;\n"
        "    } __except (EXCEPTION_EXECUTE_HANDLER) {\n"
        "        return GetExceptionCode();\n"
        "    }\n"
        "    return 0; }\n"
    )
    image = DriverImage.load(made(tmp_path, body, optimize=optimize).path)
    store = image.mapped.index(struct.pack("<I", 0x12345678))
    assert any(begin <= store < end for begin, end in scopes(image))
    assert "__C_specific_handler" in {each.name for each in image.imports}


# ------------------------------------------------------------------------------------------ what does not build ---


def test_an_error_carries_the_compilers_lines(tmp_path: Path) -> None:
    with pytest.raises(BuildFailed) as error:
        made(tmp_path, f"{ENTRY} {{\n    return STATUS_SUCESS;\n}}")
    assert str(error.value).startswith(
        "made.c does not compile\nmade.c:3:12: error: use of undeclared identifier 'STATUS_SUCESS'"
    )
    assert "return STATUS_SUCESS;" in str(error.value)


@pytest.mark.parametrize(
    ("name", "source", "sentence"),
    [
        ("a.c", f"#include <ntddk.h>\n{ENTRY} {{ return Nowhere(1); }}", "Nowhere is neither defined .* nor exported"),
        ("a.c", "#include <ntddk.h>\nint x;", "has no DriverEntry"),
        ("a.cpp", f"#include <ntddk.h>\n{ENTRY} {{ return 0; }}", 'must be declared extern "C"'),
        ("a.c", "#include <wdf.h>", "KMDF"),
        ("a.c", "#include <nowhere.h>", "'nowhere.h' file not found"),
        ("a.cpp", f'#include <ntddk.h>\nextern "C" {ENTRY} {{ later(); return 0; }}\nvoid later() {{}}', "'later'"),
    ],
)
def test_what_cannot_be_built_is_said(tmp_path: Path, name: str, source: str, sentence: str) -> None:
    (tmp_path / name).write_text(source)
    with pytest.raises(BuildFailed, match=sentence):
        build([tmp_path / name], tmp_path / "a.sys")
    assert not (tmp_path / "a.sys").exists()


def test_sources_are_looked_at_first(tmp_path: Path) -> None:
    (tmp_path / "a.rc").write_text("")
    for sources, sentence in [
        ([], "no source was given"),
        ([tmp_path / "a.rc"], "is not a C or C"),
        ([tmp_path / "none.c"], "there is no source"),
    ]:
        with pytest.raises(UsageError, match=sentence):
            build(sources, tmp_path / "a.sys")


def test_an_output_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shutil.copy(SAMPLES / "leak.c", tmp_path)
    with pytest.raises(UsageError, match="cannot be written"):
        build([tmp_path / "leak.c"], tmp_path / "file" / "a.sys")


def test_headers_are_forwarded_nowhere_else(tmp_path: Path) -> None:
    """A name with many .. in it must not make the mender write outside of its folder."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (tmp_path / "far.h").write_text("")
    up = "../" * 30 + str(tmp_path)[1:]
    with pytest.raises(BuildFailed, match="not found"):
        made(deep, f'#include "{up}/FAR.h"\n{ENTRY} {{ return 0; }}')
    assert not (tmp_path / "FAR.h").exists()


# ------------------------------------------------------------------------------------- finding functions in C -----


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("int a(void) { return 1; }\nint b;\nint c(void);", ["a"]),
        ("_Use_decl_annotations_\nNTSTATUS\nNTAPI\nd(int x)\n{\n}", ["d"]),
        ("struct s { int (*f)(int); };\nint t[] = { 1 };", []),
        ('/* int no(void) { } */ char *s = "int no(void) {"; // int no(void) {\nint yes(void) {}', ["yes"]),
        (
            "#define M(x) int x(void) {\nstatic __forceinline void *e(char c) { if (c == '}') { } }\nint f() {}",
            ["e", "f"],
        ),
        ("_IRQL_requires_max_(PASSIVE_LEVEL)\nVOID g(_In_ PVOID p, _Out_writes_(n) PUCHAR q) { }", ["g"]),
    ],
)
def test_functions_are_found(source: str, names: list[str]) -> None:
    assert [each.name for each in functions(source)] == names
