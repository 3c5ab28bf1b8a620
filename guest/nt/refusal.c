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
REFUSAL(ZwSetInformationFile, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwQueryVolumeInformationFile, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwQueryDirectoryFile, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwFsControlFile, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwFlushBuffersFile, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwDeleteFile, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwQueryFullAttributesFile, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(IoQueryFileDosDeviceName, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(IoVolumeDeviceToDosName, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(RtlVolumeDeviceToDosName, STATUS_INVALID_DEVICE_REQUEST);
REFUSAL(ZwOpenDirectoryObject, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwCreateDirectoryObject, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwOpenSymbolicLinkObject, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwQuerySymbolicLinkObject, STATUS_INVALID_HANDLE);
REFUSAL(ZwMakeTemporaryObject, STATUS_INVALID_HANDLE);

/* No processes but System, nothing to map, nobody to impersonate. */
REFUSAL(ZwOpenProcess, STATUS_INVALID_CID);
REFUSAL(ZwOpenThread, STATUS_INVALID_CID);
REFUSAL(ZwTerminateProcess, STATUS_ACCESS_DENIED);
REFUSAL(ZwQuerySystemInformation, STATUS_INVALID_INFO_CLASS);
REFUSAL(ZwQueryInformationProcess, STATUS_INVALID_INFO_CLASS);
REFUSAL(ZwQueryInformationThread, STATUS_INVALID_INFO_CLASS);
REFUSAL(ZwSetInformationThread, STATUS_INVALID_INFO_CLASS);
REFUSAL(ZwSetInformationProcess, STATUS_INVALID_INFO_CLASS);
REFUSAL(ZwSetSystemInformation, STATUS_INVALID_INFO_CLASS);
REFUSAL(ZwQueryObject, STATUS_INVALID_INFO_CLASS);
REFUSAL(ZwDuplicateObject, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwOpenSection, STATUS_OBJECT_NAME_NOT_FOUND);
REFUSAL(ZwCreateSection, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwMapViewOfSection, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwUnmapViewOfSection, STATUS_NOT_MAPPED_VIEW);
REFUSAL(ZwAllocateVirtualMemory, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwFreeVirtualMemory, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwProtectVirtualMemory, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwLoadDriver, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwUnloadDriver, STATUS_NOT_IMPLEMENTED);
REFUSAL(ZwOpenProcessTokenEx, STATUS_NO_TOKEN);
REFUSAL(ZwOpenThreadTokenEx, STATUS_NO_TOKEN);
REFUSAL(ZwQueryInformationToken, STATUS_NO_TOKEN);
REFUSAL(SeLocateProcessImageName, STATUS_NOT_IMPLEMENTED);
REFUSAL(MmCopyVirtualMemory, STATUS_NOT_IMPLEMENTED);

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
REFUSAL(PoStartNextPowerIrp, STATUS_SUCCESS);
REFUSAL(PoSetSystemState, STATUS_SUCCESS);
REFUSAL(EtwRegister, STATUS_SUCCESS);
REFUSAL(EtwUnregister, STATUS_SUCCESS);
REFUSAL(EtwWrite, STATUS_SUCCESS);
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
