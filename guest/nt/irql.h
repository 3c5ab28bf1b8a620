/*
 * irql.h - the interrupt request level: CR8, which is where x64 Windows keeps it and where drivers, whose KeRaiseIrql
 * is a macro, read and write it themselves.
 */
#pragma once

#include "cpu/instructions.h"
#include "nt.h"

static inline KIRQL irql_current(void) {
    return (KIRQL)read_cr8();
}

/* Below DISPATCH_LEVEL the DPCs that are queued run first, as they would interrupt at this moment. */
void irql_lower(KIRQL irql);
