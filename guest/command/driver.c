/*
 * driver.c - Windows drivers for the controller: loading, unloading, and a program's side of talking to their devices.
 * A driver is named by the base of its image, strings and blocks stand in the mailbox's scratch area.
 */
#include "nt/driver.h"
#include "memory/user_pages.h"
#include "nt.h"
#include "nt/request.h"
#include "nt/rtl.h"

static struct lab_driver *in_state(u64 base, enum lab_driver_state state) {
    struct lab_driver *driver = driver_at(base);
    return driver && driver->base == base && driver->state == state ? driver : NULL;
}

static u64 NTAPI driver_new(const char *name, u64 size) {
    struct lab_driver *driver = driver_reserve(name, size);
    return driver ? driver->base : 0;
}
LAB_COMMAND(driver_new, "Reserve memory for a driver's image by name and size: returns its base, 0 for no memory.");

static NTSTATUS NTAPI driver_write(u64 base, u32 rva, const void *bytes, u32 size) {
    struct lab_driver *driver = in_state(base, DRIVER_RESERVED);
    void *target = driver ? (void *)driver_memory(driver, rva, size) : NULL;
    if (!target)
        return STATUS_INVALID_PARAMETER;
    memcpy(target, bytes, size);
    return STATUS_SUCCESS;
}
LAB_COMMAND(driver_write, "Copy bytes into a driver's image: base, distance from it, source, size.");

static NTSTATUS NTAPI driver_protect(u64 base, u32 rva, u32 size, u32 rights) {
    struct lab_driver *driver = in_state(base, DRIVER_RESERVED);
    return driver && driver_set_rights(driver, rva, size, rights) ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}
LAB_COMMAND(driver_protect,
            "Set the rights of a section: read 1, write 2, execute 4; 8 discards it after DriverEntry.");

static u64 NTAPI driver_missing(u64 base, const char *name) {
    struct lab_driver *driver = in_state(base, DRIVER_RESERVED);
    return driver ? driver_add_missing(driver, name) : 0;
}
LAB_COMMAND(driver_missing, "Make a stub for an import that does not exist: called, it stops with the import's name.");

static NTSTATUS NTAPI driver_load(u64 base, u32 entry, u32 exceptions, u32 exceptions_size) {
    struct lab_driver *driver = in_state(base, DRIVER_RESERVED);
    if (!driver || !driver_memory(driver, entry, 1) ||
        (exceptions_size && !driver_memory(driver, exceptions, exceptions_size)))
        return STATUS_INVALID_PARAMETER;
    driver->entry = base + entry;
    driver->exceptions = exceptions;
    driver->exceptions_size = exceptions_size;
    return driver_start(driver);
}
LAB_COMMAND(driver_load, "Call DriverEntry: base, entry point, .pdata and its size, all relative to the base.");

static NTSTATUS NTAPI driver_unload(u64 base) {
    struct lab_driver *driver = in_state(base, DRIVER_LOADED);
    return driver ? driver_stop(driver) : STATUS_OBJECT_NAME_NOT_FOUND;
}
LAB_COMMAND(driver_unload, "Call DriverUnload and take the driver away; what it leaves is counted in lab_drivers.");

static NTSTATUS NTAPI driver_abandon(u64 base) {
    struct lab_driver *driver = in_state(base, DRIVER_RESERVED);
    if (!driver)
        return STATUS_OBJECT_NAME_NOT_FOUND;
    driver_release(driver);
    driver->state = DRIVER_NONE;
    return STATUS_SUCCESS;
}
LAB_COMMAND(driver_abandon, "Give back the memory of a driver that was never loaded.");

/* ---------------------------------------------------------------------------------------- a program's requests ---- */

/* What a program has to do with one device at a time. The controller reads it after each command. */
struct lab_request_report {
    NTSTATUS open;   /* of IRP_MJ_CREATE */
    NTSTATUS status; /* of the request itself */
    u64 information; /* bytes transferred, as a rule */
};
struct lab_request_report lab_request_report;

/* A path of ASCII characters; "Name" alone is \??\Name, as programs write \\.\Name. */
enum { LONGEST_PATH = 256 };
static UNICODE_STRING path_of(const char *name, WCHAR buffer[LONGEST_PATH]) {
    static const char prefix[] = "\\??\\";
    u64 length = 0;
    for (const char *text = prefix; *name != '\\' && *text; text++)
        buffer[length++] = (u8)*text;
    for (; *name && length < LONGEST_PATH; name++)
        buffer[length++] = (u8)*name;
    USHORT size = (USHORT)(length * sizeof(WCHAR));
    return (UNICODE_STRING){size, size, buffer};
}

static NTSTATUS open(const char *name, PFILE_OBJECT *ret) {
    WCHAR buffer[LONGEST_PATH];
    UNICODE_STRING path = path_of(name, buffer);
    lab_request_report = (struct lab_request_report){.status = STATUS_UNSUCCESSFUL};
    lab_request_report.open = file_open(&path, UserMode, ret);
    return lab_request_report.open;
}

static NTSTATUS report(NTSTATUS status, const IO_STATUS_BLOCK *result) {
    lab_request_report.status = status;
    lab_request_report.information = result->Information;
    return status;
}

/* The program's own memory: the controller's bytes are copied there and back. */
static void *user_buffer(const void *bytes, u32 size, bool *ret_failed) {
    void *buffer = user_pages_map(size);
    *ret_failed |= size && !buffer;
    u64 rflags = driver_allow_user_access();
    if (buffer && bytes)
        memcpy(buffer, bytes, size);
    driver_restore_user_access(rflags);
    return buffer;
}

static void copy_back(void *bytes, const void *buffer, u32 size) {
    u64 rflags = driver_allow_user_access();
    if (buffer && bytes)
        memcpy(bytes, buffer, size);
    driver_restore_user_access(rflags);
}

static NTSTATUS control(PFILE_OBJECT file, u32 code, const void *input, u32 input_size, void *output, u32 output_size) {
    bool failed = false;
    IO_STATUS_BLOCK result = {.Information = 0};
    void *in = user_buffer(input, input_size, &failed), *out = user_buffer(output, output_size, &failed);
    const struct irp_control request = {code, false, in, input_size, out, output_size};
    NTSTATUS status = failed ? STATUS_NO_MEMORY : file_control(file, UserMode, &request, &result);
    copy_back(output, out, output_size);
    if (status != STATUS_PENDING) {
        user_pages_check_unlocked(in, input_size);
        user_pages_check_unlocked(out, output_size);
        user_pages_unmap(in, input_size);
        user_pages_unmap(out, output_size);
    }
    return report(status, &result);
}

static NTSTATUS NTAPI device_control(const char *name, u32 code, const void *input, u32 input_size, void *output,
                                     u32 output_size) {
    PFILE_OBJECT file;
    NTSTATUS status = open(name, &file);
    if (!NT_SUCCESS(status))
        return status;
    status = control(file, code, input, input_size, output, output_size);
    file_close(file, UserMode);
    return status;
}
LAB_COMMAND(device_control, "Open a device, send it a control code with input and output, close it.");

static NTSTATUS transfer(const char *name, UCHAR major, void *bytes, u32 size, u64 offset) {
    PFILE_OBJECT file;
    NTSTATUS status = open(name, &file);
    if (!NT_SUCCESS(status))
        return status;
    bool failed = false;
    IO_STATUS_BLOCK result = {.Information = 0};
    void *buffer = user_buffer(bytes, size, &failed);
    status = failed ? STATUS_NO_MEMORY : file_transfer(file, UserMode, major, buffer, size, offset, &result);
    copy_back(bytes, buffer, size);
    if (status != STATUS_PENDING) {
        user_pages_check_unlocked(buffer, size);
        user_pages_unmap(buffer, size);
    }
    report(status, &result);
    file_close(file, UserMode);
    return status;
}

static NTSTATUS NTAPI device_read(const char *name, void *bytes, u32 size, u64 offset) {
    return transfer(name, IRP_MJ_READ, bytes, size, offset);
}
LAB_COMMAND(device_read, "Open a device, read from it into a buffer at an offset, close it.");

static NTSTATUS NTAPI device_write(const char *name, void *bytes, u32 size, u64 offset) {
    return transfer(name, IRP_MJ_WRITE, bytes, size, offset);
}
LAB_COMMAND(device_write, "Open a device, write a buffer to it at an offset, close it.");
