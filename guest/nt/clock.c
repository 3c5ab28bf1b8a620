#include "nt/clock.h"

#include "cpu/clock.h"
#include "cpu/instructions.h"
#include "nt/rtl.h"
#include "nt/shared_data.h"

u64 clock_due(LARGE_INTEGER due) {
    if (due.QuadPart < 0)
        return clock_now() - (u64)due.QuadPart;
    return (u64)due.QuadPart > CLOCK_BOOT_DATE ? (u64)due.QuadPart - CLOCK_BOOT_DATE : 0;
}

/* The clock may interrupt anybody, and must not be overtaken by an older time. */
void clock_publish(void) {
    u64 rflags = read_rflags();
    cli();
    u64 now = clock_now();
    shared_data_set_time(now, clock_to_system(now), now / CLOCK_TICK);
    write_rflags(rflags);
}

VOID NTAPI KeQuerySystemTime(PLARGE_INTEGER CurrentTime) {
    CurrentTime->QuadPart = (LONGLONG)clock_to_system(clock_now());
}
NT_EXPORT(KeQuerySystemTime);
NT_EXPORT_AS("KeQuerySystemTimePrecise", KeQuerySystemTime);

ULONGLONG NTAPI KeQueryInterruptTime(VOID) {
    return clock_now();
}
NT_EXPORT(KeQueryInterruptTime);
NT_EXPORT_AS("KeQueryUnbiasedInterruptTime", KeQueryInterruptTime);

static ULONGLONG NTAPI KeQueryInterruptTimePrecise(PULONG64 QpcTimeStamp) {
    *QpcTimeStamp = clock_now();
    return *QpcTimeStamp;
}
NT_EXPORT(KeQueryInterruptTimePrecise);

static VOID NTAPI KeQueryTickCount(PLARGE_INTEGER TickCount) {
    TickCount->QuadPart = (LONGLONG)(clock_now() / CLOCK_TICK);
}
NT_EXPORT(KeQueryTickCount);

static ULONG NTAPI KeQueryTimeIncrement(VOID) {
    return CLOCK_TICK;
}
NT_EXPORT(KeQueryTimeIncrement);

static ULONG NTAPI ExSetTimerResolution(ULONG DesiredTime, BOOLEAN SetResolution) {
    (void)DesiredTime, (void)SetResolution; /* ours is that of the CPU's counter anyway */
    return CLOCK_TICK;
}
NT_EXPORT(ExSetTimerResolution);

LARGE_INTEGER NTAPI KeQueryPerformanceCounter(PLARGE_INTEGER PerformanceFrequency) {
    if (PerformanceFrequency)
        PerformanceFrequency->QuadPart = CLOCK_HZ;
    return (LARGE_INTEGER){.QuadPart = (LONGLONG)clock_now()};
}
NT_EXPORT(KeQueryPerformanceCounter);

VOID NTAPI KeStallExecutionProcessor(ULONG MicroSeconds) {
    u64 end = clock_now() + MicroSeconds * (CLOCK_HZ / 1000000);
    while (clock_now() < end)
        ;
}
NT_EXPORT(KeStallExecutionProcessor);

/* ------------------------------------------------------------------------------------------------ the calendar ---- */

typedef struct _TIME_FIELDS {
    CSHORT Year, Month, Day, Hour, Minute, Second, Milliseconds, Weekday;
} TIME_FIELDS, *PTIME_FIELDS;
_Static_assert(sizeof(TIME_FIELDS) == 16, "as in Windows");

enum { FIRST_YEAR = 1601, LAST_YEAR = 30827, DAYS_OF_400_YEARS = 146097, MONDAY = 1, MS_PER_DAY = 86400000 };

static bool is_leap(u32 year) {
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static u32 days_of_month(u32 year, u32 month) {
    static const u8 days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[month - 1] + (month == 2 && is_leap(year));
}

/* Days from the first of January 1601 to that of a year. */
static u64 days_before(u32 year) {
    u64 whole = year - FIRST_YEAR;
    return whole * 365 + whole / 4 - whole / 100 + whole / 400;
}

static VOID NTAPI RtlTimeToTimeFields(const LARGE_INTEGER *Time, PTIME_FIELDS TimeFields) {
    u64 ms = (u64)Time->QuadPart / (CLOCK_HZ / 1000), day = ms / MS_PER_DAY, of_day = ms % MS_PER_DAY;
    u32 year = FIRST_YEAR + (u32)(day * 400 / DAYS_OF_400_YEARS), month = 1;
    while (days_before(year + 1) <= day)
        year++;
    while (days_before(year) > day)
        year--;
    u64 of_year = day - days_before(year);
    for (; of_year >= days_of_month(year, month); month++)
        of_year -= days_of_month(year, month);
    *TimeFields = (TIME_FIELDS){
        .Year = (CSHORT)year,
        .Month = (CSHORT)month,
        .Day = (CSHORT)(of_year + 1),
        .Hour = (CSHORT)(of_day / 3600000),
        .Minute = (CSHORT)(of_day / 60000 % 60),
        .Second = (CSHORT)(of_day / 1000 % 60),
        .Milliseconds = (CSHORT)(of_day % 1000),
        .Weekday = (CSHORT)((day + MONDAY) % 7),
    };
}
NT_EXPORT(RtlTimeToTimeFields);

static BOOLEAN NTAPI RtlTimeFieldsToTime(const TIME_FIELDS *TimeFields, PLARGE_INTEGER Time) {
    const TIME_FIELDS *t = TimeFields;
    bool valid = t->Year >= FIRST_YEAR && t->Year <= LAST_YEAR && t->Month >= 1 && t->Month <= 12 && t->Day >= 1 &&
                 t->Hour >= 0 && t->Hour < 24 && t->Minute >= 0 && t->Minute < 60 && t->Second >= 0 && t->Second < 60 &&
                 t->Milliseconds >= 0 && t->Milliseconds < 1000;
    if (!valid || (u32)t->Day > days_of_month((u32)t->Year, (u32)t->Month))
        return FALSE;
    u64 day = days_before((u32)t->Year) + (u64)t->Day - 1;
    for (u32 month = 1; month < (u32)t->Month; month++)
        day += days_of_month((u32)t->Year, month);
    u64 seconds = (u64)t->Hour * 3600 + (u64)t->Minute * 60 + (u64)t->Second;
    Time->QuadPart = (LONGLONG)((day * MS_PER_DAY + seconds * 1000 + (u64)t->Milliseconds) * (CLOCK_HZ / 1000));
    return TRUE;
}
NT_EXPORT(RtlTimeFieldsToTime);

/* The lab lives in UTC. */
static VOID NTAPI ExSystemTimeToLocalTime(const LARGE_INTEGER *SystemTime, PLARGE_INTEGER LocalTime) {
    *LocalTime = *SystemTime;
}
NT_EXPORT(ExSystemTimeToLocalTime);
NT_EXPORT_AS("ExLocalTimeToSystemTime", ExSystemTimeToLocalTime);

/* Seconds since 1970 and 1980, as other systems count them. */
enum { DAYS_TO_1970 = 134774, DAYS_TO_1980 = 138426, SECONDS_PER_DAY = 86400 };

static BOOLEAN to_seconds(const LARGE_INTEGER *time, u64 first_day, PULONG ret) {
    u64 seconds = (u64)time->QuadPart / CLOCK_HZ - first_day * SECONDS_PER_DAY;
    *ret = (ULONG)seconds;
    return seconds <= ~(ULONG)0;
}

static BOOLEAN NTAPI RtlTimeToSecondsSince1970(const LARGE_INTEGER *Time, PULONG ElapsedSeconds) {
    return to_seconds(Time, DAYS_TO_1970, ElapsedSeconds);
}
NT_EXPORT(RtlTimeToSecondsSince1970);

static BOOLEAN NTAPI RtlTimeToSecondsSince1980(const LARGE_INTEGER *Time, PULONG ElapsedSeconds) {
    return to_seconds(Time, DAYS_TO_1980, ElapsedSeconds);
}
NT_EXPORT(RtlTimeToSecondsSince1980);

static VOID NTAPI RtlSecondsSince1970ToTime(ULONG ElapsedSeconds, PLARGE_INTEGER Time) {
    Time->QuadPart = (LONGLONG)((DAYS_TO_1970 * (u64)SECONDS_PER_DAY + ElapsedSeconds) * CLOCK_HZ);
}
NT_EXPORT(RtlSecondsSince1970ToTime);

static VOID NTAPI RtlSecondsSince1980ToTime(ULONG ElapsedSeconds, PLARGE_INTEGER Time) {
    Time->QuadPart = (LONGLONG)((DAYS_TO_1980 * (u64)SECONDS_PER_DAY + ElapsedSeconds) * CLOCK_HZ);
}
NT_EXPORT(RtlSecondsSince1980ToTime);
