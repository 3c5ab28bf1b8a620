/*
 * mailbox.h - serves the controller's requests (struct lab_mailbox in lab.h) until the guest stops.
 */
#pragma once

#include "lab.h"

_Noreturn void mailbox_serve(void);
