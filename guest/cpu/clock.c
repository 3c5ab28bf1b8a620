#include "cpu/clock.h"

#include "cpu/apic.h"
#include "cpu/instructions.h"

/* Registers of the local APIC; Intel SDM vol. 3A, "APIC Timer". */
enum {
    APIC_END_OF_INTERRUPT = 0xb0,
    APIC_TIMER_VECTOR = 0x320,
    APIC_TIMER_START = 0x380,
    APIC_TIMER_COUNT = 0x390,
    APIC_TIMER_DIVIDE = 0x3e0,
};
enum { TIMER_MASKED = 1 << 16, TIMER_PERIODIC = 1 << 17, DIVIDE_BY_1 = 0xb };

/* QEMU and KVM both let it count nanoseconds. */
enum { APIC_HZ = 1000000000, APIC_TICKS = APIC_HZ / CLOCK_HZ };

/* The frequency of the time-stamp counter is measured that long, which is good for one part in a thousand. */
enum { MEASURE_TICKS = APIC_HZ / 500 };

static u64 tsc_hz;
static bool ticking;

static volatile u32 *apic_register(u64 offset) {
    return (volatile u32 *)(LOCAL_APIC + offset);
}

/* Not at boot, which few guests would profit from: most never ask for the time. */
static void measure(void) {
    *apic_register(APIC_TIMER_VECTOR) = TIMER_MASKED | CLOCK_VECTOR;
    *apic_register(APIC_TIMER_DIVIDE) = DIVIDE_BY_1;
    *apic_register(APIC_TIMER_START) = ~0u;
    u32 first = *apic_register(APIC_TIMER_COUNT), last = first;
    u64 start = rdtsc(), end = start;
    while (first - last < MEASURE_TICKS) {
        last = *apic_register(APIC_TIMER_COUNT);
        end = rdtsc();
    }
    tsc_hz = (end - start) * (APIC_HZ / 1000) / ((first - last) / 1000);
    *apic_register(APIC_TIMER_START) = 0;
}

/* In two parts, so that nothing overflows. */
u64 clock_now(void) {
    if (!tsc_hz)
        measure();
    u64 ticks = rdtsc(); /* since the machine was switched on */
    return ticks / tsc_hz * CLOCK_HZ + ticks % tsc_hz * CLOCK_HZ / tsc_hz;
}

void clock_start_tick(void) {
    if (ticking)
        return;
    clock_now(); /* which may have to measure, with the same timer */
    ticking = true;
    *apic_register(APIC_TIMER_VECTOR) = TIMER_PERIODIC | CLOCK_VECTOR;
    *apic_register(APIC_TIMER_START) = CLOCK_TICK * APIC_TICKS;
}

void clock_set_alarm(u64 when) {
    ticking = false;
    if (!tsc_hz)
        return; /* nobody has asked for the time yet, or set the timer */
    u64 now = clock_now();
    u64 left = when > now ? (when - now) * APIC_TICKS : 1;
    *apic_register(APIC_TIMER_VECTOR) = CLOCK_VECTOR;
    *apic_register(APIC_TIMER_START) = when == CLOCK_NEVER ? 0
                                       : left < ~0u        ? (u32)left
                                                           : ~0u; /* too early is no harm */
}

void clock_acknowledge(void) {
    *apic_register(APIC_END_OF_INTERRUPT) = 0;
}
