/*
 * ntintsafe.h - Microsoft's overflow-checked arithmetic and conversions for drivers, by the compiler's own checks. It
 * stands instead of mingw-w64's header, which spells the names without their Rtl.
 *
 * Each stores its result and returns STATUS_SUCCESS, or stores all ones and returns STATUS_INTEGER_OVERFLOW.
 */
#pragma once
#pragma clang system_header

#define _NTINTSAFE_H_INCLUDED_

#include <ntdef.h>
#include <ntstatus.h>

#define LAB_INTSAFE static __inline__ __attribute__((unused)) NTSTATUS

#define LAB_SAFE_STEP(name, type, builtin)                                                                             \
    LAB_INTSAFE name(type first, type second, type *result) {                                                          \
        if (!builtin(first, second, result))                                                                           \
            return STATUS_SUCCESS;                                                                                     \
        *result = (type) ~(type)0;                                                                                     \
        return STATUS_INTEGER_OVERFLOW;                                                                                \
    }

#define LAB_SAFE_ARITHMETIC(name, type)                                                                                \
    LAB_SAFE_STEP(Rtl##name##Add, type, __builtin_add_overflow)                                                        \
    LAB_SAFE_STEP(Rtl##name##Sub, type, __builtin_sub_overflow)                                                        \
    LAB_SAFE_STEP(Rtl##name##Mult, type, __builtin_mul_overflow)

#define LAB_SAFE_CONVERSION(name, from, to)                                                                            \
    LAB_INTSAFE Rtl##name(from operand, to *result) {                                                                  \
        if (!__builtin_add_overflow(operand, 0, result))                                                               \
            return STATUS_SUCCESS;                                                                                     \
        *result = (to) ~(to)0;                                                                                         \
        return STATUS_INTEGER_OVERFLOW;                                                                                \
    }

#ifdef __cplusplus
extern "C" {
#endif

LAB_SAFE_ARITHMETIC(Int, int)
LAB_SAFE_ARITHMETIC(UInt, unsigned int)
LAB_SAFE_ARITHMETIC(UInt8, UCHAR)
LAB_SAFE_ARITHMETIC(UShort, USHORT)
LAB_SAFE_ARITHMETIC(Long, LONG)
LAB_SAFE_ARITHMETIC(ULong, ULONG)
LAB_SAFE_ARITHMETIC(LongLong, LONGLONG)
LAB_SAFE_ARITHMETIC(ULongLong, ULONGLONG)
LAB_SAFE_ARITHMETIC(ULongPtr, ULONG_PTR)
LAB_SAFE_ARITHMETIC(SizeT, SIZE_T)

#define RtlUInt32Add RtlUIntAdd
#define RtlUInt32Sub RtlUIntSub
#define RtlUInt32Mult RtlUIntMult
#define RtlUInt64Add RtlULongLongAdd
#define RtlUInt64Sub RtlULongLongSub
#define RtlUInt64Mult RtlULongLongMult
#define RtlUIntPtrAdd RtlULongPtrAdd
#define RtlUIntPtrSub RtlULongPtrSub
#define RtlUIntPtrMult RtlULongPtrMult
#define RtlSIZETAdd RtlSizeTAdd
#define RtlSIZETSub RtlSizeTSub
#define RtlSIZETMult RtlSizeTMult

LAB_SAFE_CONVERSION(ULongToUChar, ULONG, UCHAR)
LAB_SAFE_CONVERSION(ULongToUShort, ULONG, USHORT)
LAB_SAFE_CONVERSION(ULongToLong, ULONG, LONG)
LAB_SAFE_CONVERSION(LongToULong, LONG, ULONG)
LAB_SAFE_CONVERSION(LongToUShort, LONG, USHORT)
LAB_SAFE_CONVERSION(LongLongToULong, LONGLONG, ULONG)
LAB_SAFE_CONVERSION(LongLongToULongLong, LONGLONG, ULONGLONG)
LAB_SAFE_CONVERSION(ULongLongToULong, ULONGLONG, ULONG)
LAB_SAFE_CONVERSION(ULongLongToUShort, ULONGLONG, USHORT)
LAB_SAFE_CONVERSION(ULongLongToLong, ULONGLONG, LONG)
LAB_SAFE_CONVERSION(ULongLongToSizeT, ULONGLONG, SIZE_T)
LAB_SAFE_CONVERSION(SizeTToULong, SIZE_T, ULONG)
LAB_SAFE_CONVERSION(SizeTToUShort, SIZE_T, USHORT)
LAB_SAFE_CONVERSION(ULongPtrToULong, ULONG_PTR, ULONG)
LAB_SAFE_CONVERSION(UIntToUShort, unsigned int, USHORT)
LAB_SAFE_CONVERSION(IntToULong, int, ULONG)

#ifdef __cplusplus
}
#endif
