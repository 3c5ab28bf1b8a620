/*
 * refusal.c - calls that exist so that drivers which import them load, and that say truthfully what they cannot do:
 * there is no registry, no file system, no user mode, no plug and play, no power management, no tracing.
 */
#include "nt.h"

/* The parameters do not matter: in the Microsoft convention it is the caller who removes them. */
#define REFUSAL(name, status)                                                                                          \
    static NTSTATUS NTAPI name(VOID) {                                                                                 \
        return status;                                                                                                 \
    }                                                                                                                  \
    NT_EXPORT(name)

/* The registry is empty. */
REFUSAL(ZwOpenKey, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwOpenKeyEx, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwQueryValueKey, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwDeleteValueKey, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwDeleteKey, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwQueryKey, STATUS_INVALID_HANDLE);
REFUSAL(ZwEnumerateKey, STATUS_NO_MORE_ENTRIES);
REFUSAL(ZwEnumerateValueKey, STATUS_NO_MORE_ENTRIES);
REFUSAL(ZwNotifyChangeKey, STATUS_INVALID_HANDLE);
REFUSAL(ZwCreateKey, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwSetValueKey, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwFlushKey, STATUS_NOT_IMPLEMENTED);
REFUSAL(RtlQueryRegistryValues, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(RtlCheckRegistryKey, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(RtlDeleteRegistryValue, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(RtlWriteRegistryValue, STATUS_NOT_IMPLEMENTED);
REFUSAL(RtlCreateRegistryKey, STATUS_NOT_IMPLEMENTED);
REFUSAL(IoOpenDeviceRegistryKey, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(IoOpenDriverRegistryKey, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(IoOpenDeviceInterfaceRegistryKey, STATUS_OBJECT_NAME_NOT_FOUND);

/* Files are devices only. */
REFUSAL(ZwQueryInformationFile, STATUS_INVALID_DEVICE_REQUEST);
NT_EXPORT_AS("NtQueryInformationFile", ZwQueryInformationFile);
REFUSAL(ZwSetInformationFile, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwQueryVolumeInformationFile, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwQueryDirectoryFile, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwFsControlFile, STATUS_INVALID_DEVICE_REQUEST);
NT_EXPORT_AS("NtFsControlFile", ZwFsControlFile);
REFUSAL(ZwFlushBuffersFile, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwDeleteFile, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwQueryFullAttributesFile, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(IoQueryFileDosDeviceName, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(IoVolumeDeviceToDosName, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(RtlVolumeDeviceToDosName, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(IoCreateFileEx, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(IoCreateFileSpecifyDeviceObjectHint, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(IoRegisterFsRegistrationChange, STATUS_NOT_IMPLEMENTED);
REFUSAL(IoUnregisterFsRegistrationChange, STATUS_SUCCESS);
REFUSAL(ZwQueryDirectoryObject, STATUS_INVALID_HANDLE);
REFUSAL(ZwOpenDirectoryObject, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwCreateDirectoryObject, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwOpenSymbolicLinkObject, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwQuerySymbolicLinkObject, STATUS_INVALID_HANDLE);
REFUSAL(ZwMakeTemporaryObject, STATUS_INVALID_HANDLE);

/* No processes but System, nothing to map, nobody to impersonate. */
REFUSAL(ZwOpenProcess, STATUS_INVALID_CID);
NT_EXPORT_AS("NtOpenProcess", ZwOpenProcess);
REFUSAL(ZwOpenThread, STATUS_INVALID_CID);
REFUSAL(ZwTerminateProcess, STATUS_ACCESS_DENIED);
REFUSAL(ZwQuerySystemInformation, STATUS_INVALID_INFO_CLASS);
NT_EXPORT_AS("NtQuerySystemInformation", ZwQuerySystemInformation);
REFUSAL(ZwQueryInformationProcess, STATUS_INVALID_INFO_CLASS);
NT_EXPORT_AS("NtQueryInformationProcess", ZwQueryInformationProcess);
REFUSAL(ZwQueryInformationThread, STATUS_INVALID_INFO_CLASS);
NT_EXPORT_AS("NtQueryInformationThread", ZwQueryInformationThread);
REFUSAL(ZwSetInformationThread, STATUS_INVALID_INFO_CLASS);
NT_EXPORT_AS("NtSetInformationThread", ZwSetInformationThread);
REFUSAL(ZwSetInformationProcess, STATUS_INVALID_INFO_CLASS);
NT_EXPORT_AS("NtSetInformationProcess", ZwSetInformationProcess);
REFUSAL(ZwSetSystemInformation, STATUS_INVALID_INFO_CLASS);
REFUSAL(ZwQueryObject, STATUS_INVALID_INFO_CLASS);
REFUSAL(ZwDuplicateObject, STATUS_NOT_IMPLEMENTED);
NT_EXPORT_AS("NtDuplicateObject", ZwDuplicateObject);
REFUSAL(ZwOpenSection, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwCreateSection, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwMapViewOfSection, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwUnmapViewOfSection, STATUS_NOT_MAPPED_VIEW);
REFUSAL(ZwAllocateVirtualMemory, STATUS_NOT_IMPLEMENTED);
NT_EXPORT_AS("NtAllocateVirtualMemory", ZwAllocateVirtualMemory);
REFUSAL(ZwFreeVirtualMemory, STATUS_NOT_IMPLEMENTED);
NT_EXPORT_AS("NtFreeVirtualMemory", ZwFreeVirtualMemory);
REFUSAL(ZwProtectVirtualMemory, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwQueryVirtualMemory, STATUS_NOT_IMPLEMENTED);
REFUSAL(MmMapViewInSystemSpace, STATUS_NOT_IMPLEMENTED);
REFUSAL(MmUnmapViewInSystemSpace, STATUS_NOT_MAPPED_VIEW);
REFUSAL(MmCreateSection, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwLoadDriver, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwUnloadDriver, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwOpenProcessToken, STATUS_NO_TOKEN);
REFUSAL(ZwOpenThreadToken, STATUS_NO_TOKEN);
REFUSAL(SeQueryInformationToken, STATUS_NO_TOKEN);
REFUSAL(ZwSetSecurityObject, STATUS_SUCCESS);
REFUSAL(ZwQuerySecurityObject, STATUS_NOT_SUPPORTED);
REFUSAL(ObGetObjectSecurity, STATUS_NOT_SUPPORTED);
REFUSAL(ObSetSecurityObjectByPointer, STATUS_SUCCESS);
REFUSAL(ObReleaseObjectSecurity, STATUS_SUCCESS);
REFUSAL(ZwOpenProcessTokenEx, STATUS_NO_TOKEN);
REFUSAL(ZwOpenThreadTokenEx, STATUS_NO_TOKEN);
REFUSAL(ZwQueryInformationToken, STATUS_NO_TOKEN);
REFUSAL(SeLocateProcessImageName, STATUS_NOT_IMPLEMENTED);

/* No devices are found or lost, no power is saved, nothing is traced. */
REFUSAL(IoRegisterDeviceInterface, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(IoSetDeviceInterfaceState, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(IoGetDeviceInterfaces, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(IoGetDeviceProperty, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(IoRegisterPlugPlayNotification, STATUS_NOT_IMPLEMENTED);
REFUSAL(IoUnregisterPlugPlayNotification, STATUS_SUCCESS);
REFUSAL(IoUnregisterPlugPlayNotificationEx, STATUS_SUCCESS);
REFUSAL(IoReportDetectedDevice, STATUS_NOT_IMPLEMENTED);
REFUSAL(IoConnectInterrupt, STATUS_NOT_IMPLEMENTED);
REFUSAL(IoConnectInterruptEx, STATUS_NOT_IMPLEMENTED);
REFUSAL(IoDisconnectInterrupt, STATUS_SUCCESS);
REFUSAL(IoDisconnectInterruptEx, STATUS_SUCCESS);
REFUSAL(IoWMIRegistrationControl, STATUS_SUCCESS);
REFUSAL(PoRequestPowerIrp, STATUS_NOT_IMPLEMENTED);
REFUSAL(PoRegisterPowerSettingCallback, STATUS_NOT_IMPLEMENTED);
REFUSAL(PoUnregisterPowerSettingCallback, STATUS_SUCCESS);
REFUSAL(PoSetPowerState, STATUS_SUCCESS);
REFUSAL(PoRegisterSystemState, STATUS_SUCCESS); /* no handle */
REFUSAL(PoUnregisterSystemState, STATUS_SUCCESS);
REFUSAL(PoRegisterDeviceForIdleDetection, STATUS_SUCCESS);
REFUSAL(PoFxRegisterDevice, STATUS_NOT_IMPLEMENTED);
REFUSAL(PoCreatePowerRequest, STATUS_NOT_IMPLEMENTED);
REFUSAL(PoStartNextPowerIrp, STATUS_SUCCESS);
REFUSAL(PoSetSystemState, STATUS_SUCCESS);
REFUSAL(EtwRegister, STATUS_SUCCESS);
REFUSAL(EtwUnregister, STATUS_SUCCESS);
REFUSAL(EtwWrite, STATUS_SUCCESS);
REFUSAL(EtwWriteEx, STATUS_SUCCESS);
REFUSAL(EtwWriteString, STATUS_SUCCESS);
REFUSAL(EtwActivityIdControl, STATUS_SUCCESS);
REFUSAL(WmiTraceMessage, STATUS_SUCCESS);
REFUSAL(WmiTraceMessageVa, STATUS_SUCCESS);
REFUSAL(WmiQueryTraceInformation, STATUS_NOT_FOUND);
REFUSAL(WmiSystemControl, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(WmiCompleteRequest, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(IoWMIOpenBlock, STATUS_NOT_FOUND);
REFUSAL(IoWMIQueryAllData, STATUS_NOT_FOUND);
REFUSAL(IoWMIWriteEvent, STATUS_UNSUCCESSFUL);
REFUSAL(EtwWriteTransfer, STATUS_SUCCESS);
REFUSAL(EtwSetInformation, STATUS_SUCCESS);
REFUSAL(EtwEventEnabled, FALSE);
REFUSAL(EtwProviderEnabled, FALSE);
REFUSAL(IoWriteErrorLogEntry, STATUS_SUCCESS);
REFUSAL(IoInvalidateDeviceRelations, STATUS_SUCCESS);
REFUSAL(IoInvalidateDeviceState, STATUS_SUCCESS);
REFUSAL(IoRequestDeviceEject, STATUS_SUCCESS);
REFUSAL(ExUnregisterAttributeInformationCallback, STATUS_SUCCESS);
REFUSAL(KeSaveExtendedProcessorState, STATUS_SUCCESS); /* SSE and AVX registers are kept anyway */
REFUSAL(KeRestoreExtendedProcessorState, STATUS_SUCCESS);
REFUSAL(KeSaveFloatingPointState, STATUS_SUCCESS);
REFUSAL(KeRestoreFloatingPointState, STATUS_SUCCESS);

/* Everybody has every privilege. */
REFUSAL(SeSinglePrivilegeCheck, TRUE);

/* No such thing ever happens; drivers take no handle for an error. */
REFUSAL(KeRegisterNmiCallback, STATUS_SUCCESS);
REFUSAL(KeDeregisterNmiCallback, STATUS_SUCCESS);
REFUSAL(KeRegisterProcessorChangeCallback, STATUS_SUCCESS);
REFUSAL(KeDeregisterProcessorChangeCallback, STATUS_SUCCESS);
REFUSAL(SeRegisterLogonSessionTerminatedRoutine, STATUS_NOT_IMPLEMENTED);

/* APCs are not delivered: none is ever queued. */
REFUSAL(KeInsertQueueApc, FALSE);
REFUSAL(KeInitializeApc, STATUS_SUCCESS);
REFUSAL(KeTestAlertThread, FALSE);

/* Nothing can be allocated for the error log, and no entry of a log that nobody reads is an error. */
static PVOID NTAPI IoAllocateErrorLogEntry(PVOID IoObject, UCHAR EntrySize) {
    (void)IoObject, (void)EntrySize;
    return NULL;
}
NT_EXPORT(IoAllocateErrorLogEntry);
