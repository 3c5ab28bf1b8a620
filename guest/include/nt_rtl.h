/*
 * nt_rtl.h - the run-time library as far as the kernel calls it itself. Part of nt.h.
 */
#pragma once

WCHAR NTAPI RtlUpcaseUnicodeChar(WCHAR SourceCharacter);
BOOLEAN NTAPI RtlEqualUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive);
BOOLEAN NTAPI RtlPrefixUnicodeString(PCUNICODE_STRING String1, PCUNICODE_STRING String2, BOOLEAN CaseInSensitive);
NTSTATUS NTAPI RtlAppendUnicodeStringToString(PUNICODE_STRING Destination, PCUNICODE_STRING Source);
