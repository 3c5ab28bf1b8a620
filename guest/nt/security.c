/*
 * security.c - security descriptors, lists of access and identifiers, as data that drivers build. Nothing is ever
 * refused by them: everybody here is the system.
 */
#include "nt.h"
#include "nt/rtl.h"

/* ------------------------------------------------------------------------------------------------- identifiers ---- */

typedef struct _SID {
    UCHAR Revision;
    UCHAR SubAuthorityCount;
    UCHAR IdentifierAuthority[6];
    ULONG SubAuthority[];
} SID, *PSID;
enum { SID_REVISION = 1, SID_MAX_SUB_AUTHORITIES = 15 };

static ULONG NTAPI RtlLengthRequiredSid(ULONG SubAuthorityCount) {
    return (ULONG)(sizeof(SID) + SubAuthorityCount * sizeof(ULONG));
}
NT_EXPORT(RtlLengthRequiredSid);

static ULONG NTAPI RtlLengthSid(PSID Sid) {
    return RtlLengthRequiredSid(Sid->SubAuthorityCount);
}
NT_EXPORT(RtlLengthSid);

static BOOLEAN NTAPI RtlValidSid(PSID Sid) {
    return Sid && Sid->Revision == SID_REVISION && Sid->SubAuthorityCount <= SID_MAX_SUB_AUTHORITIES;
}
NT_EXPORT(RtlValidSid);

static NTSTATUS NTAPI RtlInitializeSid(PSID Sid, const UCHAR *IdentifierAuthority, UCHAR SubAuthorityCount) {
    if (SubAuthorityCount > SID_MAX_SUB_AUTHORITIES)
        return STATUS_INVALID_PARAMETER;
    Sid->Revision = SID_REVISION;
    Sid->SubAuthorityCount = SubAuthorityCount;
    memcpy(Sid->IdentifierAuthority, IdentifierAuthority, sizeof(Sid->IdentifierAuthority));
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlInitializeSid);

static PULONG NTAPI RtlSubAuthoritySid(PSID Sid, ULONG SubAuthority) {
    return &Sid->SubAuthority[SubAuthority];
}
NT_EXPORT(RtlSubAuthoritySid);

static BOOLEAN NTAPI RtlEqualSid(PSID Sid1, PSID Sid2) {
    return Sid1->SubAuthorityCount == Sid2->SubAuthorityCount && !memcmp(Sid1, Sid2, RtlLengthSid(Sid1));
}
NT_EXPORT(RtlEqualSid);

static NTSTATUS NTAPI RtlCopySid(ULONG DestinationSidLength, PSID DestinationSid, PSID SourceSid) {
    if (DestinationSidLength < RtlLengthSid(SourceSid))
        return STATUS_BUFFER_TOO_SMALL;
    memcpy(DestinationSid, SourceSid, RtlLengthSid(SourceSid));
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlCopySid);

/* --------------------------------------------------------------------------------------------- lists of access ---- */

typedef struct _ACL {
    UCHAR AclRevision, Sbz1;
    USHORT AclSize, AceCount, Sbz2;
} ACL, *PACL;
enum { ACL_REVISION = 2 };

typedef struct _ACCESS_ALLOWED_ACE {
    UCHAR Type, Flags;
    USHORT Size;
    ACCESS_MASK Mask;
    SID Sid;
} ACCESS_ALLOWED_ACE, *PACCESS_ALLOWED_ACE;
enum { ACCESS_ALLOWED_ACE_TYPE, ACCESS_DENIED_ACE_TYPE };

static NTSTATUS NTAPI RtlCreateAcl(PACL Acl, ULONG AclLength, ULONG AclRevision) {
    if (AclLength < sizeof(*Acl))
        return STATUS_BUFFER_TOO_SMALL;
    if (AclLength > 0xffff || AclRevision < ACL_REVISION)
        return STATUS_INVALID_PARAMETER;
    *Acl = (ACL){.AclRevision = (UCHAR)AclRevision, .AclSize = (USHORT)(AclLength & ~3u)};
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlCreateAcl);

/* Entry n of a list, n up to its count: that is the place of the next; NULL when they do not fit into the list. */
static PACCESS_ALLOWED_ACE ace_at(PACL acl, ULONG number) {
    u8 *at = (u8 *)(acl + 1), *end = (u8 *)acl + acl->AclSize;
    for (; number > 0 && at + sizeof(ACL) <= end; number--)
        at += ((PACCESS_ALLOWED_ACE)at)->Size;
    return number == 0 && at <= end ? (PACCESS_ALLOWED_ACE)at : NULL;
}

static NTSTATUS add_ace(PACL acl, UCHAR type, ACCESS_MASK mask, PSID sid) {
    USHORT size = (USHORT)(offsetof(ACCESS_ALLOWED_ACE, Sid) + RtlLengthSid(sid));
    PACCESS_ALLOWED_ACE ace = ace_at(acl, acl->AceCount);
    if (!RtlValidSid(sid))
        return STATUS_INVALID_SID;
    if (!ace || (u8 *)ace + size > (u8 *)acl + acl->AclSize)
        return STATUS_ALLOTTED_SPACE_EXCEEDED;
    ace->Type = type;
    ace->Flags = 0;
    ace->Size = size;
    ace->Mask = mask;
    memcpy(&ace->Sid, sid, RtlLengthSid(sid));
    acl->AceCount++;
    return STATUS_SUCCESS;
}

static NTSTATUS NTAPI RtlAddAccessAllowedAce(PACL Acl, ULONG AceRevision, ACCESS_MASK AccessMask, PSID Sid) {
    (void)AceRevision;
    return add_ace(Acl, ACCESS_ALLOWED_ACE_TYPE, AccessMask, Sid);
}
NT_EXPORT(RtlAddAccessAllowedAce);

static NTSTATUS NTAPI RtlAddAccessDeniedAce(PACL Acl, ULONG AceRevision, ACCESS_MASK AccessMask, PSID Sid) {
    (void)AceRevision;
    return add_ace(Acl, ACCESS_DENIED_ACE_TYPE, AccessMask, Sid);
}
NT_EXPORT(RtlAddAccessDeniedAce);

static NTSTATUS NTAPI RtlGetAce(PACL Acl, ULONG AceIndex, PVOID *Ace) {
    *Ace = AceIndex < Acl->AceCount ? ace_at(Acl, AceIndex) : NULL;
    return *Ace ? STATUS_SUCCESS : STATUS_INVALID_PARAMETER;
}
NT_EXPORT(RtlGetAce);

/* ------------------------------------------------------------------------------------------------- descriptors ---- */

/* With pointers; none of ours is ever self-relative. */
typedef struct _SECURITY_DESCRIPTOR {
    UCHAR Revision, Sbz1;
    USHORT Control;
    PSID Owner, Group;
    PACL Sacl, Dacl;
} SECURITY_DESCRIPTOR, *PSECURITY_DESCRIPTOR;
_Static_assert(sizeof(SECURITY_DESCRIPTOR) == 0x28, "as in Windows");
enum { SECURITY_DESCRIPTOR_REVISION = 1 };
enum { SE_OWNER_DEFAULTED = 1, SE_GROUP_DEFAULTED = 2, SE_DACL_PRESENT = 4, SE_DACL_DEFAULTED = 8 };

static NTSTATUS NTAPI RtlCreateSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, ULONG Revision) {
    if (Revision != SECURITY_DESCRIPTOR_REVISION)
        return STATUS_UNKNOWN_REVISION;
    *SecurityDescriptor = (SECURITY_DESCRIPTOR){.Revision = SECURITY_DESCRIPTOR_REVISION};
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlCreateSecurityDescriptor);

static BOOLEAN NTAPI RtlValidSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor) {
    return SecurityDescriptor && SecurityDescriptor->Revision == SECURITY_DESCRIPTOR_REVISION;
}
NT_EXPORT(RtlValidSecurityDescriptor);
NT_EXPORT_AS("SeValidSecurityDescriptor", RtlValidSecurityDescriptor);

static ULONG round4(ULONG size) {
    return (size + 3) & ~3u;
}

static ULONG NTAPI RtlLengthSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor) {
    ULONG size = sizeof(*SecurityDescriptor);
    size += SecurityDescriptor->Owner ? round4(RtlLengthSid(SecurityDescriptor->Owner)) : 0;
    size += SecurityDescriptor->Group ? round4(RtlLengthSid(SecurityDescriptor->Group)) : 0;
    size += SecurityDescriptor->Sacl ? round4(SecurityDescriptor->Sacl->AclSize) : 0;
    size += SecurityDescriptor->Dacl ? round4(SecurityDescriptor->Dacl->AclSize) : 0;
    return size;
}
NT_EXPORT(RtlLengthSecurityDescriptor);

static void set_control(PSECURITY_DESCRIPTOR descriptor, USHORT bit, bool set) {
    descriptor->Control = (USHORT)(set ? descriptor->Control | bit : descriptor->Control & ~bit);
}

static NTSTATUS NTAPI RtlSetDaclSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, BOOLEAN DaclPresent,
                                                   PACL Dacl, BOOLEAN DaclDefaulted) {
    set_control(SecurityDescriptor, SE_DACL_PRESENT, DaclPresent);
    set_control(SecurityDescriptor, SE_DACL_DEFAULTED, DaclPresent && DaclDefaulted);
    SecurityDescriptor->Dacl = DaclPresent ? Dacl : NULL;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlSetDaclSecurityDescriptor);

static NTSTATUS NTAPI RtlGetDaclSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, PBOOLEAN DaclPresent,
                                                   PACL *Dacl, PBOOLEAN DaclDefaulted) {
    *DaclPresent = (SecurityDescriptor->Control & SE_DACL_PRESENT) != 0;
    *DaclDefaulted = (SecurityDescriptor->Control & SE_DACL_DEFAULTED) != 0;
    *Dacl = SecurityDescriptor->Dacl;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlGetDaclSecurityDescriptor);

static NTSTATUS NTAPI RtlSetOwnerSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, PSID Owner,
                                                    BOOLEAN OwnerDefaulted) {
    set_control(SecurityDescriptor, SE_OWNER_DEFAULTED, OwnerDefaulted);
    SecurityDescriptor->Owner = Owner;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlSetOwnerSecurityDescriptor);

static NTSTATUS NTAPI RtlSetGroupSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, PSID Group,
                                                    BOOLEAN GroupDefaulted) {
    set_control(SecurityDescriptor, SE_GROUP_DEFAULTED, GroupDefaulted);
    SecurityDescriptor->Group = Group;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlSetGroupSecurityDescriptor);

static NTSTATUS NTAPI RtlGetOwnerSecurityDescriptor(PSECURITY_DESCRIPTOR SecurityDescriptor, PSID *Owner,
                                                    PBOOLEAN OwnerDefaulted) {
    *Owner = SecurityDescriptor->Owner;
    *OwnerDefaulted = (SecurityDescriptor->Control & SE_OWNER_DEFAULTED) != 0;
    return STATUS_SUCCESS;
}
NT_EXPORT(RtlGetOwnerSecurityDescriptor);

/* --------------------------------------------------------------------------------------------------- questions ---- */

/* A caller's identity in a request: nobody but the system is there. */
static VOID NTAPI SeCaptureSubjectContext(PVOID SubjectContext) {
    enum { SUBJECT_CONTEXT_SIZE = 0x20 };
    memset(SubjectContext, 0, SUBJECT_CONTEXT_SIZE);
}
NT_EXPORT(SeCaptureSubjectContext);

static VOID NTAPI SeReleaseSubjectContext(PVOID SubjectContext) {
    (void)SubjectContext;
}
NT_EXPORT(SeReleaseSubjectContext);
NT_EXPORT_AS("SeLockSubjectContext", SeReleaseSubjectContext);
NT_EXPORT_AS("SeUnlockSubjectContext", SeReleaseSubjectContext);

static BOOLEAN NTAPI SeAccessCheck(PVOID SecurityDescriptor, PVOID SubjectContext, BOOLEAN SubjectContextLocked,
                                   ACCESS_MASK DesiredAccess, ACCESS_MASK PreviouslyGrantedAccess, PVOID *Privileges,
                                   PVOID GenericMapping, KPROCESSOR_MODE AccessMode, ACCESS_MASK *GrantedAccess,
                                   NTSTATUS *AccessStatus) {
    (void)SecurityDescriptor, (void)SubjectContext, (void)SubjectContextLocked, (void)GenericMapping, (void)AccessMode;
    if (Privileges)
        *Privileges = NULL;
    *GrantedAccess = DesiredAccess | PreviouslyGrantedAccess;
    *AccessStatus = STATUS_SUCCESS;
    return TRUE;
}
NT_EXPORT(SeAccessCheck);

static BOOLEAN NTAPI SeTokenIsAdmin(PVOID Token) {
    (void)Token;
    return TRUE;
}
NT_EXPORT(SeTokenIsAdmin);
