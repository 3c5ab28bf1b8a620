/*
 * wdmsec.h - mingw-w64's, with the functions that Microsoft links from a static library. The security descriptor is
 * not kept: there is nobody here to whom access could be denied.
 */
#pragma once
#pragma clang system_header

#include "wdm.h"

#include_next <wdmsec.h>

#define LAB_WDMSEC __declspec(selectany) const UNICODE_STRING
LAB_WDMSEC SDDL_DEVOBJ_KERNEL_ONLY = RTL_CONSTANT_STRING(L"D:P");
LAB_WDMSEC SDDL_DEVOBJ_SYS_ALL = RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)");
LAB_WDMSEC SDDL_DEVOBJ_SYS_ALL_ADM_ALL = RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)(A;;GA;;;BA)");
LAB_WDMSEC SDDL_DEVOBJ_SYS_ALL_ADM_RX = RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)(A;;GRGX;;;BA)");
LAB_WDMSEC SDDL_DEVOBJ_SYS_ALL_ADM_RWX_WORLD_R = RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GR;;;WD)");
LAB_WDMSEC SDDL_DEVOBJ_SYS_ALL_ADM_RWX_WORLD_R_RES_R =
    RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GR;;;WD)(A;;GR;;;RC)");
LAB_WDMSEC SDDL_DEVOBJ_SYS_ALL_ADM_RWX_WORLD_RW_RES_R =
    RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GRGW;;;WD)(A;;GR;;;RC)");
LAB_WDMSEC SDDL_DEVOBJ_SYS_ALL_ADM_RWX_WORLD_RWX_RES_RWX =
    RTL_CONSTANT_STRING(L"D:P(A;;GA;;;SY)(A;;GRGWGX;;;BA)(A;;GRGWGX;;;WD)(A;;GRGWGX;;;RC)");
#undef LAB_WDMSEC

#undef IoCreateDeviceSecure
#undef RtlInitUnicodeStringEx
#define IoCreateDeviceSecure(driver, extension, name, type, characteristics, exclusive, sddl, guid, device)            \
    ((void)(sddl), (void)(guid), IoCreateDevice(driver, extension, name, type, characteristics, exclusive, device))
#undef IoValidateDeviceIoControlAccess
