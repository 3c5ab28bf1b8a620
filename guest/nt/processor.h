/*
 * processor.h - the page at GS: KPCR and KPRCB of the one processor, with the fields that drivers read by macros.
 */
#pragma once

#include "nt.h"

/* Offsets of Windows 6.1; from Prcb on, KPRCB. */
typedef struct _KPCR {
    PVOID GdtBase;
    PVOID TssBase;
    ULONG64 UserRsp;
    struct _KPCR *Self;
    PVOID CurrentPrcb;
    PVOID LockArray;
    PVOID Used_Self;
    PVOID IdtBase;
    ULONG64 Unused[2];
    KIRQL Irql; /* not kept: CR8 is */
    UCHAR Unused1[15];
    USHORT MajorVersion;
    USHORT MinorVersion;
    UCHAR Unused2[0x11c];
    struct {
        ULONG MxCsr;
        UCHAR LegacyNumber; /* what the macro KeGetCurrentProcessorNumber reads */
        UCHAR Unused0[3];
        PKTHREAD CurrentThread;
        PKTHREAD NextThread;
        PKTHREAD IdleThread;
        ULONG64 Unused1;
    } Prcb;
} KPCR, *PKPCR;
_Static_assert(offsetof(KPCR, Self) == 0x18 && offsetof(KPCR, IdtBase) == 0x38 && offsetof(KPCR, Irql) == 0x50 &&
                   offsetof(KPCR, MajorVersion) == 0x60 && offsetof(KPCR, Prcb) == 0x180 &&
                   offsetof(KPCR, Prcb.LegacyNumber) == 0x184 && offsetof(KPCR, Prcb.CurrentThread) == 0x188,
               "KPCR is laid out as Windows lays it out");

/* Points GS at the page; `first` is the thread that runs. */
void processor_init(PKTHREAD first);
void processor_set_thread(PKTHREAD thread);
