/*
 * process.h - processes: there is one, System.
 */
#pragma once

#include "nt.h"

enum { PROCESS_SYSTEM_ID = 4, PROCESS_NAME_SIZE = 15 };

/* The fields that drivers are known to reach by number, where Windows 6.1 (7601) has them; the rest is zero. */
struct _EPROCESS {
    DISPATCHER_HEADER Header;
    LIST_ENTRY ProfileListHead;
    ULONG_PTR DirectoryTableBase;
    UCHAR Unused1[0x150];
    HANDLE UniqueProcessId;
    LIST_ENTRY ActiveProcessLinks;
    UCHAR Unused2[0x148];
    UCHAR ImageFileName[PROCESS_NAME_SIZE];
    UCHAR PriorityClass;
    UCHAR Unused3[0x1e0];
};
_Static_assert(offsetof(EPROCESS, DirectoryTableBase) == 0x28 && offsetof(EPROCESS, UniqueProcessId) == 0x180 &&
                   offsetof(EPROCESS, ActiveProcessLinks) == 0x188 && offsetof(EPROCESS, ImageFileName) == 0x2e0 &&
                   sizeof(EPROCESS) == 0x4d0,
               "EPROCESS is laid out as Windows lays it out");

void process_init(void);
