/*
 * exception.h - structured exceptions: a search through the stack for somebody who handles one, and then the unwinding
 * to whoever does. The handlers are the drivers'; frames of our own are only passed, and nothing of ours is unwound
 * beyond the point where the kernel called the driver: an exception that arrives there is a bug check.
 */
#pragma once

#include "nt.h"

/*
 * Looks for a handler. Does not return when one wants the exception: the driver goes on there. True: one asked to go on
 * where `context` says. False: nobody wants it, or there is no driver on the stack.
 */
bool exception_dispatch(EXCEPTION_RECORD *record, CONTEXT *context);

/* The end of an exception that nobody handled: the guarded call it came from, or a bug check. */
_Noreturn void exception_unhandled(const EXCEPTION_RECORD *record, const CONTEXT *context,
                                   const struct lab_registers *trap);
