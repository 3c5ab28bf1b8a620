/*
 * mailbox.h - serves the controller's requests (struct lab_mailbox in lab.h) until the guest stops.
 */
#pragma once

#include "lab.h"

_Noreturn void mailbox_serve(void);

/* Makes the call that is staged in the mailbox, guarded. For debuggers: every register is afterwards what it was. */
void mailbox_call_staged(void);

/* What that calls. */
void mailbox_answer_staged(void);
