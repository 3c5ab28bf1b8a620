/* Keeps elements in order in a balanced tree and in a splay tree. */
#include <ntddk.h>
typedef struct {
    ULONG Key;
    ULONG Value;
} NODE;
static RTL_AVL_TABLE avl;
static RTL_GENERIC_TABLE splay;
static RTL_GENERIC_COMPARE_RESULTS NTAPI CmpA(PRTL_AVL_TABLE t, PVOID a, PVOID b) {
    UNREFERENCED_PARAMETER(t);
    return ((NODE *)a)->Key<((NODE *)b)->Key ? GenericLessThan : ((NODE *)a)->Key>((NODE *)b)->Key ? GenericGreaterThan
                                                                                                   : GenericEqual;
}
static PVOID NTAPI AllocA(PRTL_AVL_TABLE t, CLONG n) {
    UNREFERENCED_PARAMETER(t);
    return ExAllocatePoolWithTag(NonPagedPool, n, 'lvaT');
}
static VOID NTAPI FreeA(PRTL_AVL_TABLE t, PVOID p) {
    UNREFERENCED_PARAMETER(t);
    ExFreePoolWithTag(p, 'lvaT');
}
static RTL_GENERIC_COMPARE_RESULTS NTAPI CmpS(PRTL_GENERIC_TABLE t, PVOID a, PVOID b) {
    return CmpA((PVOID)t, a, b);
}
static PVOID NTAPI AllocS(PRTL_GENERIC_TABLE t, CLONG n) {
    return AllocA((PVOID)t, n);
}
static VOID NTAPI FreeS(PRTL_GENERIC_TABLE t, PVOID p) {
    FreeA((PVOID)t, p);
}
VOID Unload(PDRIVER_OBJECT d) {
    UNREFERENCED_PARAMETER(d);

    PVOID p;
    while ((p = RtlGetElementGenericTableAvl(&avl, 0)) != NULL)
        RtlDeleteElementGenericTableAvl(&avl, p);
    while (!RtlIsGenericTableEmpty(&splay))
        RtlDeleteElementGenericTable(&splay, RtlGetElementGenericTable(&splay, 0));
    DbgPrint("left %u %u\n", RtlNumberGenericTableElementsAvl(&avl), RtlNumberGenericTableElements(&splay));
}
NTSTATUS DriverEntry(PDRIVER_OBJECT d, PUNICODE_STRING r) {
    UNREFERENCED_PARAMETER(r);
    d->DriverUnload = Unload;
    BOOLEAN isnew;
    RtlInitializeGenericTableAvl(&avl, CmpA, AllocA, FreeA, NULL);
    RtlInitializeGenericTable(&splay, CmpS, AllocS, FreeS, NULL);
    for (ULONG i = 0; i < 100; i++) {
        NODE n = {i * 37 % 101, i};
        RtlInsertElementGenericTableAvl(&avl, &n, sizeof n, &isnew);
        if (!isnew)
            DbgPrint("dup\n");
        RtlInsertElementGenericTable(&splay, &n, sizeof n, NULL);
    }
    NODE key = {37, 0};
    NODE *f = RtlLookupElementGenericTableAvl(&avl, &key);
    DbgPrint("avl %u -> %u, depth %u\n", key.Key, f ? f->Value : 0, avl.DepthOfTree);
    f = RtlLookupElementGenericTable(&splay, &key);
    DbgPrint("splay %u -> %u\n", key.Key, f ? f->Value : 0);
    ULONG last = 0, n = 0, bad = 0;
    for (NODE *p = RtlEnumerateGenericTableAvl(&avl, TRUE); p; p = RtlEnumerateGenericTableAvl(&avl, FALSE)) {
        if (n++ && p->Key <= last)
            bad++;
        last = p->Key;
    }
    DbgPrint("walked %u bad %u\n", n, bad);
    PVOID restart = NULL;
    n = 0;
    for (NODE *p = RtlEnumerateGenericTableWithoutSplayingAvl(&avl, &restart); p;
         p = RtlEnumerateGenericTableWithoutSplayingAvl(&avl, &restart))
        n++;
    DbgPrint("walked %u\n", n);
    key.Key = 5;
    DbgPrint("delete %d %d\n", RtlDeleteElementGenericTableAvl(&avl, &key), RtlDeleteElementGenericTable(&splay, &key));
    DbgPrint("count %u %u\n", RtlNumberGenericTableElementsAvl(&avl), RtlNumberGenericTableElements(&splay));
    return STATUS_SUCCESS;
}
