/*
 * rtl_bitmap.c - RTL_BITMAP: bits numbered from the lowest of the first word.
 */
#include "nt.h"

typedef struct _RTL_BITMAP {
    ULONG SizeOfBitMap; /* in bits */
    PULONG Buffer;
} RTL_BITMAP, *PRTL_BITMAP;
_Static_assert(sizeof(RTL_BITMAP) == 16, "as in Windows");

enum { WORD_BITS = 32 };
#define NOT_FOUND (~(ULONG)0)

static bool get(const RTL_BITMAP *bitmap, ULONG bit) {
    return bitmap->Buffer[bit / WORD_BITS] >> bit % WORD_BITS & 1;
}

static void put(PRTL_BITMAP bitmap, ULONG bit, bool set) {
    ULONG mask = 1u << bit % WORD_BITS;
    bitmap->Buffer[bit / WORD_BITS] = (bitmap->Buffer[bit / WORD_BITS] & ~mask) | (set ? mask : 0);
}

static void put_range(PRTL_BITMAP bitmap, ULONG first, ULONG count, bool set) {
    for (ULONG bit = first; bit - first < count && bit < bitmap->SizeOfBitMap; bit++)
        put(bitmap, bit, set);
}

/* First of the lowest run of `count` bits of that value in [from, end). */
static ULONG find(const RTL_BITMAP *bitmap, ULONG count, ULONG from, ULONG end, bool set) {
    ULONG run = 0;
    for (ULONG bit = from; bit < end; bit++) {
        run = get(bitmap, bit) == set ? run + 1 : 0;
        if (run >= count && count)
            return bit + 1 - count;
    }
    return NOT_FOUND;
}

static ULONG find_from_hint(const RTL_BITMAP *bitmap, ULONG count, ULONG hint, bool set) {
    ULONG from = hint < bitmap->SizeOfBitMap ? hint : 0;
    ULONG found = find(bitmap, count, from, bitmap->SizeOfBitMap, set);
    return found == NOT_FOUND && from ? find(bitmap, count, 0, bitmap->SizeOfBitMap, set) : found;
}

static ULONG count_bits(const RTL_BITMAP *bitmap, bool set) {
    ULONG count = 0;
    for (ULONG bit = 0; bit < bitmap->SizeOfBitMap; bit++)
        count += get(bitmap, bit) == set;
    return count;
}

static VOID NTAPI RtlInitializeBitMap(PRTL_BITMAP BitMapHeader, PULONG BitMapBuffer, ULONG SizeOfBitMap) {
    *BitMapHeader = (RTL_BITMAP){SizeOfBitMap, BitMapBuffer};
}
NT_EXPORT(RtlInitializeBitMap);

static VOID NTAPI RtlClearBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber) {
    put(BitMapHeader, BitNumber, false);
}
NT_EXPORT(RtlClearBit);

static VOID NTAPI RtlSetBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber) {
    put(BitMapHeader, BitNumber, true);
}
NT_EXPORT(RtlSetBit);

static BOOLEAN NTAPI RtlTestBit(PRTL_BITMAP BitMapHeader, ULONG BitNumber) {
    return get(BitMapHeader, BitNumber);
}
NT_EXPORT(RtlTestBit);

static VOID NTAPI RtlClearAllBits(PRTL_BITMAP BitMapHeader) {
    put_range(BitMapHeader, 0, BitMapHeader->SizeOfBitMap, false);
}
NT_EXPORT(RtlClearAllBits);

static VOID NTAPI RtlSetAllBits(PRTL_BITMAP BitMapHeader) {
    put_range(BitMapHeader, 0, BitMapHeader->SizeOfBitMap, true);
}
NT_EXPORT(RtlSetAllBits);

static VOID NTAPI RtlClearBits(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG NumberToClear) {
    put_range(BitMapHeader, StartingIndex, NumberToClear, false);
}
NT_EXPORT(RtlClearBits);

static VOID NTAPI RtlSetBits(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG NumberToSet) {
    put_range(BitMapHeader, StartingIndex, NumberToSet, true);
}
NT_EXPORT(RtlSetBits);

static BOOLEAN NTAPI RtlAreBitsClear(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length) {
    ULONG end = StartingIndex + Length;
    return Length && end <= BitMapHeader->SizeOfBitMap && end > StartingIndex &&
           find(BitMapHeader, 1, StartingIndex, end, true) == NOT_FOUND;
}
NT_EXPORT(RtlAreBitsClear);

static BOOLEAN NTAPI RtlAreBitsSet(PRTL_BITMAP BitMapHeader, ULONG StartingIndex, ULONG Length) {
    ULONG end = StartingIndex + Length;
    return Length && end <= BitMapHeader->SizeOfBitMap && end > StartingIndex &&
           find(BitMapHeader, 1, StartingIndex, end, false) == NOT_FOUND;
}
NT_EXPORT(RtlAreBitsSet);

static ULONG NTAPI RtlNumberOfClearBits(PRTL_BITMAP BitMapHeader) {
    return count_bits(BitMapHeader, false);
}
NT_EXPORT(RtlNumberOfClearBits);

static ULONG NTAPI RtlNumberOfSetBits(PRTL_BITMAP BitMapHeader) {
    return count_bits(BitMapHeader, true);
}
NT_EXPORT(RtlNumberOfSetBits);

static ULONG NTAPI RtlFindClearBits(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex) {
    return find_from_hint(BitMapHeader, NumberToFind, HintIndex, false);
}
NT_EXPORT(RtlFindClearBits);

static ULONG NTAPI RtlFindSetBits(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex) {
    return find_from_hint(BitMapHeader, NumberToFind, HintIndex, true);
}
NT_EXPORT(RtlFindSetBits);

static ULONG NTAPI RtlFindClearBitsAndSet(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex) {
    ULONG found = find_from_hint(BitMapHeader, NumberToFind, HintIndex, false);
    if (found != NOT_FOUND)
        put_range(BitMapHeader, found, NumberToFind, true);
    return found;
}
NT_EXPORT(RtlFindClearBitsAndSet);

static ULONG NTAPI RtlFindSetBitsAndClear(PRTL_BITMAP BitMapHeader, ULONG NumberToFind, ULONG HintIndex) {
    ULONG found = find_from_hint(BitMapHeader, NumberToFind, HintIndex, true);
    if (found != NOT_FOUND)
        put_range(BitMapHeader, found, NumberToFind, false);
    return found;
}
NT_EXPORT(RtlFindSetBitsAndClear);

static CCHAR NTAPI RtlFindMostSignificantBit(ULONGLONG Set) {
    return Set ? (CCHAR)(63 - __builtin_clzll(Set)) : -1;
}
NT_EXPORT(RtlFindMostSignificantBit);

static CCHAR NTAPI RtlFindLeastSignificantBit(ULONGLONG Set) {
    return Set ? (CCHAR)__builtin_ctzll(Set) : -1;
}
NT_EXPORT(RtlFindLeastSignificantBit);

static ULONG NTAPI RtlNumberOfSetBitsUlongPtr(ULONG_PTR Target) {
    ULONG count = 0;
    for (; Target; Target &= Target - 1)
        count++;
    return count;
}
NT_EXPORT(RtlNumberOfSetBitsUlongPtr);
