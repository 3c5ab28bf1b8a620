/*
 * unwind.h - from a function's frame to its caller's. Drivers say in .pdata and .xdata how (RtlVirtualUnwind, in nt.h),
 * the kernel's own C functions in the .eh_frame that the compiler writes. What has neither ends the stack: the assembly
 * that calls into drivers, and that which calls whatever the controller asked for.
 */
#pragma once

#include "nt.h"

/* In CONTEXT.ContextFlags, as Windows has it: Rip is where a call returns to, not where something happened. */
#define CONTEXT_UNWOUND_TO_CALL 0x20000000u

/* A frame that was left. */
struct unwind_frame {
    u64 pc;
    bool behind_call;           /* pc is where a call returns to, not where something happened */
    u64 image_base;             /* 0: not a driver's */
    PRUNTIME_FUNCTION function; /* NULL: not a driver's, or a leaf function */
    u64 establisher;            /* by which the frame is known to its handlers */
    PEXCEPTION_ROUTINE handler; /* of the kind asked for */
    void *handler_data;
};

/*
 * Leaves one frame: `context` becomes the caller's. Asks for handlers of UNW_FLAG_EHANDLER, UNW_FLAG_UHANDLER, or for
 * none. False at the end of the stack; then `context` means nothing any more.
 */
bool unwind_frame(CONTEXT *context, ULONG handler_type, struct unwind_frame *ret);

/* Leaves frames of the kernel's own until the context is a driver's. False when there is none. */
bool unwind_to_driver(CONTEXT *context);

/* unwind_kernel.c: one frame of a C function of the kernel's, or of a trap in it. */
bool unwind_kernel_frame(CONTEXT *context);
bool unwind_is_kernel(u64 pc);

/* A word of the stack that the current thread runs on; false for any other address. */
bool unwind_read(u64 address, u64 *ret);
