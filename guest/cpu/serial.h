/*
 * serial.h - COM1, and its interrupt, which is how a sleeping guest is woken.
 */
#pragma once

#include "lab.h"

void serial_init(void);
void serial_write(char character);

/* Lets COM1 interrupt on each byte received, through the 8259 interrupt controllers. */
void serial_interrupt_init(void);

/* Takes an interrupt of the 8259s: drops what COM1 received and acknowledges. */
void serial_interrupt(u64 vector);

/* Where the sixteen inputs of the 8259s arrive, as with Windows: above the vectors of software interrupts. */
enum { IRQ_VECTOR_FIRST = 0x30, IRQ_VECTOR_LAST = 0x3f };
