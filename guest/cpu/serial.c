#include "cpu/serial.h"

#include "cpu/instructions.h"

/* Registers of a 16550 UART as offsets from its port, with the bits we use. */
enum {
    COM1 = 0x3f8,
    UART_DATA = 0,
    UART_INTERRUPTS = 1, /* bit 0: on received data */
    UART_FIFO = 2,
    UART_LINE = 3,
    UART_MODEM = 4,
    UART_STATUS = 5,
};
enum { STATUS_RECEIVED = 1 << 0, STATUS_CAN_SEND = 1 << 5 };
enum { LINE_8N1 = 0x03, FIFO_ON_CLEARED = 0x07, MODEM_DTR_RTS_OUT2 = 0x0b };

/* The two 8259s; the second hangs at input 2 of the first. */
enum { PIC1 = 0x20, PIC2 = 0xa0, PIC_DATA = 1, PIC_END_OF_INTERRUPT = 0x20 };
enum { SERIAL_IRQ = 4 };

void serial_init(void) {
    outb(COM1 + UART_INTERRUPTS, 0);
    outb(COM1 + UART_LINE, LINE_8N1);
    outb(COM1 + UART_FIFO, FIFO_ON_CLEARED);
    outb(COM1 + UART_MODEM, MODEM_DTR_RTS_OUT2);
}

/* How often to look whether the line takes another byte: about a second under TCG. */
enum { SEND_TRIES = 1 << 20 };

/*
 * A controller that is connected but does not read stops the line. Then its output is dropped rather than the guest
 * held up; the log in RAM is complete in any case. Once stopped, the line gets one look a byte until it moves again.
 */
void serial_write(char character) {
    static bool stopped;
    for (u64 tries = stopped ? 1 : SEND_TRIES; tries > 0; tries--) {
        stopped = !(inb(COM1 + UART_STATUS) & STATUS_CAN_SEND);
        if (!stopped) {
            outb(COM1 + UART_DATA, (u8)character);
            return;
        }
    }
}

static void pic_init(u16 port, u8 first_vector, u8 cascade, u8 mask) {
    outb(port, 0x11); /* four words follow: edge triggered, cascaded */
    outb(port + PIC_DATA, first_vector);
    outb(port + PIC_DATA, cascade);
    outb(port + PIC_DATA, 0x01); /* 8086 mode */
    outb(port + PIC_DATA, mask);
}

void serial_interrupt_init(void) {
    pic_init(PIC1, IRQ_VECTOR_FIRST, 1 << 2, (u8) ~(1 << SERIAL_IRQ));
    pic_init(PIC2, IRQ_VECTOR_FIRST + 8, 2, 0xff);
    outb(COM1 + UART_INTERRUPTS, 1);
}

void serial_interrupt(u64 vector) {
    while (inb(COM1 + UART_STATUS) & STATUS_RECEIVED)
        inb(COM1 + UART_DATA);
    if (vector >= IRQ_VECTOR_FIRST + 8)
        outb(PIC2, PIC_END_OF_INTERRUPT);
    outb(PIC1, PIC_END_OF_INTERRUPT);
}
