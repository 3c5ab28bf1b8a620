/*
 * mailbox.h - serves the controller's requests (struct lab_mailbox in lab.h) until the guest stops.
 */
#pragma once

#include "lab.h"

_Noreturn void mailbox_serve(void);

/* What the ways in of mailbox.S call. */
void mailbox_answer_staged(void);
