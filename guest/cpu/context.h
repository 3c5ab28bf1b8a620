/*
 * context.h - the state of the CPU as a whole. RtlCaptureContext, which takes it, is in nt.h.
 */
#pragma once

#include "nt.h"

/* Goes on as `context` says: all registers, the SSE ones too. The stack below context->Rsp is given up. */
_Noreturn void NTAPI context_restore(const CONTEXT *context);

/* Between a CONTEXT and the registers of a trap, which the SSE registers are not among: FltSave and MxCsr stay. */
void context_from_registers(const struct lab_registers *registers, CONTEXT *ret);
void context_to_registers(const CONTEXT *context, struct lab_registers *ret); /* nor do vector and error code change */

/*
 * The kernel itself never touches the SSE registers: in a trap they are still those of the driver. Who calls a driver
 * in between saves them first, if what was interrupted may be gone on with.
 */
void NTAPI context_save_floating(XSAVE_FORMAT *ret);
void NTAPI context_load_floating(const XSAVE_FORMAT *state);
