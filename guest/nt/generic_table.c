/*
 * generic_table.c - Windows' tables of elements in order: balanced (AVL) trees, and splay trees, in which whatever was
 * looked for last stands at the root. An element is the caller's bytes behind a header with the links; compare,
 * allocate and free are the caller's functions.
 */
#include "nt.h"
#include "nt/list.h"
#include "nt/rtl.h"

typedef enum { TableEmptyTree, TableFoundNode, TableInsertAsLeft, TableInsertAsRight } TABLE_SEARCH_RESULT;
typedef enum { GenericLessThan, GenericGreaterThan, GenericEqual } RTL_GENERIC_COMPARE_RESULTS;

/* ---------------------------------------------------------------------------------------------- balanced trees ---- */

typedef struct _RTL_BALANCED_LINKS {
    struct _RTL_BALANCED_LINKS *Parent, *LeftChild, *RightChild;
    signed char Balance; /* height of the right side less that of the left: -1, 0 or 1 */
    UCHAR Reserved[3];
} RTL_BALANCED_LINKS, *PRTL_BALANCED_LINKS;

struct _RTL_AVL_TABLE;
typedef RTL_GENERIC_COMPARE_RESULTS(NTAPI *PRTL_AVL_COMPARE_ROUTINE)(struct _RTL_AVL_TABLE *Table, PVOID First,
                                                                     PVOID Second);
typedef PVOID(NTAPI *PRTL_AVL_ALLOCATE_ROUTINE)(struct _RTL_AVL_TABLE *Table, ULONG ByteSize);
typedef VOID(NTAPI *PRTL_AVL_FREE_ROUTINE)(struct _RTL_AVL_TABLE *Table, PVOID Buffer);

typedef struct _RTL_AVL_TABLE {
    RTL_BALANCED_LINKS BalancedRoot; /* its right child is the root of the tree, whose parent it is */
    PVOID OrderedPointer;
    ULONG WhichOrderedElement;
    ULONG NumberGenericTableElements;
    ULONG DepthOfTree;
    PRTL_BALANCED_LINKS RestartKey;
    ULONG DeleteCount;
    PRTL_AVL_COMPARE_ROUTINE CompareRoutine;
    PRTL_AVL_ALLOCATE_ROUTINE AllocateRoutine;
    PRTL_AVL_FREE_ROUTINE FreeRoutine;
    PVOID TableContext;
} RTL_AVL_TABLE, *PRTL_AVL_TABLE;
_Static_assert(sizeof(RTL_BALANCED_LINKS) == 0x20 && sizeof(RTL_AVL_TABLE) == 0x68, "as in Windows");

static PVOID avl_data(PRTL_BALANCED_LINKS node) {
    return node ? node + 1 : NULL;
}

static PRTL_BALANCED_LINKS avl_node(PVOID data) {
    return (PRTL_BALANCED_LINKS)data - 1;
}

static PRTL_BALANCED_LINKS *avl_child(PRTL_BALANCED_LINKS node, bool right) {
    return right ? &node->RightChild : &node->LeftChild;
}

/* Puts another node, or none, in the place that a node has under its parent. */
static void avl_replace(PRTL_BALANCED_LINKS node, PRTL_BALANCED_LINKS other) {
    *avl_child(node->Parent, node->Parent->RightChild == node) = other;
    if (other)
        other->Parent = node->Parent;
}

/* A rotation: a node and its parent change places. */
static void avl_lift(PRTL_BALANCED_LINKS up) {
    PRTL_BALANCED_LINKS down = up->Parent;
    bool right = down->RightChild == up;
    PRTL_BALANCED_LINKS inner = *avl_child(up, !right);
    avl_replace(down, up);
    *avl_child(down, right) = inner;
    if (inner)
        inner->Parent = down;
    *avl_child(up, !right) = down;
    down->Parent = up;
}

/* Mends a node that is out of balance by two; false when its tree is as high as it was. */
static bool avl_rebalance(PRTL_BALANCED_LINKS node) {
    signed char sign = node->Balance > 0 ? 1 : -1;
    PRTL_BALANCED_LINKS heavy = *avl_child(node, sign > 0);
    if (heavy->Balance == -sign) {
        PRTL_BALANCED_LINKS middle = *avl_child(heavy, sign < 0);
        avl_lift(middle);
        avl_lift(middle);
        node->Balance = middle->Balance == sign ? -sign : 0;
        heavy->Balance = middle->Balance == -sign ? sign : 0;
        middle->Balance = 0;
        return true;
    }
    avl_lift(heavy);
    bool shrunk = heavy->Balance != 0;
    node->Balance = shrunk ? 0 : sign;
    heavy->Balance = shrunk ? 0 : -sign;
    return shrunk;
}

static void avl_has_grown(PRTL_AVL_TABLE table, PRTL_BALANCED_LINKS node) {
    for (PRTL_BALANCED_LINKS parent = node->Parent; parent != &table->BalancedRoot; parent = node->Parent) {
        parent->Balance += parent->RightChild == node ? 1 : -1;
        if (parent->Balance == 2 || parent->Balance == -2)
            avl_rebalance(parent);
        if (parent->Balance == 0)
            return;
        node = parent;
    }
    table->DepthOfTree++;
}

/* The tree on one side of a node has become lower by one. */
static void avl_has_shrunk(PRTL_AVL_TABLE table, PRTL_BALANCED_LINKS node, bool right) {
    while (node != &table->BalancedRoot) {
        node->Balance += right ? -1 : 1;
        if (node->Balance == 1 || node->Balance == -1)
            return;
        PRTL_BALANCED_LINKS top = node;
        if (node->Balance) {
            if (!avl_rebalance(node))
                return;
            top = node->Parent;
        }
        right = top->Parent->RightChild == top;
        node = top->Parent;
    }
    table->DepthOfTree--;
}

static PRTL_BALANCED_LINKS avl_edge(PRTL_BALANCED_LINKS node, bool right) {
    while (node && *avl_child(node, right))
        node = *avl_child(node, right);
    return node;
}

static PRTL_BALANCED_LINKS avl_next(PRTL_AVL_TABLE table, PRTL_BALANCED_LINKS node) {
    if (node->RightChild)
        return avl_edge(node->RightChild, false);
    while (node->Parent != &table->BalancedRoot && node->Parent->RightChild == node)
        node = node->Parent;
    return node->Parent == &table->BalancedRoot ? NULL : node->Parent;
}

static void avl_unlink(PRTL_AVL_TABLE table, PRTL_BALANCED_LINKS node) {
    PRTL_BALANCED_LINKS start = node->Parent;
    bool right = start->RightChild == node;
    if (node->LeftChild && node->RightChild) {
        PRTL_BALANCED_LINKS heir = avl_edge(node->RightChild, false);
        right = heir->Parent == node;
        start = right ? heir : heir->Parent;
        avl_replace(heir, heir->RightChild);
        heir->Balance = node->Balance;
        heir->LeftChild = node->LeftChild;
        heir->RightChild = node->RightChild;
        avl_replace(node, heir);
        heir->LeftChild->Parent = heir;
        if (heir->RightChild)
            heir->RightChild->Parent = heir;
    } else {
        avl_replace(node, node->LeftChild ? node->LeftChild : node->RightChild);
    }
    avl_has_shrunk(table, start, right);
}

static VOID NTAPI RtlInitializeGenericTableAvl(PRTL_AVL_TABLE Table, PRTL_AVL_COMPARE_ROUTINE CompareRoutine,
                                               PRTL_AVL_ALLOCATE_ROUTINE AllocateRoutine,
                                               PRTL_AVL_FREE_ROUTINE FreeRoutine, PVOID TableContext) {
    *Table = (RTL_AVL_TABLE){
        .CompareRoutine = CompareRoutine,
        .AllocateRoutine = AllocateRoutine,
        .FreeRoutine = FreeRoutine,
        .TableContext = TableContext,
    };
    Table->BalancedRoot.Parent = &Table->BalancedRoot;
}
NT_EXPORT(RtlInitializeGenericTableAvl);

static PVOID NTAPI RtlLookupElementGenericTableFullAvl(PRTL_AVL_TABLE Table, PVOID Buffer, PVOID *NodeOrParent,
                                                       TABLE_SEARCH_RESULT *SearchResult) {
    PRTL_BALANCED_LINKS node = Table->BalancedRoot.RightChild;
    *NodeOrParent = NULL;
    *SearchResult = TableEmptyTree;
    while (node) {
        RTL_GENERIC_COMPARE_RESULTS order = Table->CompareRoutine(Table, Buffer, avl_data(node));
        *NodeOrParent = node;
        *SearchResult = order == GenericEqual      ? TableFoundNode
                        : order == GenericLessThan ? TableInsertAsLeft
                                                   : TableInsertAsRight;
        if (order == GenericEqual)
            return avl_data(node);
        node = *avl_child(node, order == GenericGreaterThan);
    }
    return NULL;
}
NT_EXPORT(RtlLookupElementGenericTableFullAvl);

static PVOID NTAPI RtlLookupElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Buffer) {
    PVOID place;
    TABLE_SEARCH_RESULT result;
    return RtlLookupElementGenericTableFullAvl(Table, Buffer, &place, &result);
}
NT_EXPORT(RtlLookupElementGenericTableAvl);

/* `place` and `result` are what the lookup gave. NULL when the caller's function has no memory. */
static PVOID NTAPI RtlInsertElementGenericTableFullAvl(PRTL_AVL_TABLE Table, PVOID Buffer, ULONG BufferSize,
                                                       PBOOLEAN NewElement, PVOID NodeOrParent,
                                                       TABLE_SEARCH_RESULT SearchResult) {
    bool found = SearchResult == TableFoundNode;
    PRTL_BALANCED_LINKS node = NodeOrParent, parent = NodeOrParent;
    if (!found)
        node = Table->AllocateRoutine(Table, (ULONG)sizeof(*node) + BufferSize);
    if (NewElement)
        *NewElement = !found && node;
    if (found || !node)
        return avl_data(node);
    if (SearchResult == TableEmptyTree)
        parent = &Table->BalancedRoot;
    *node = (RTL_BALANCED_LINKS){.Parent = parent};
    *avl_child(parent, SearchResult != TableInsertAsLeft) = node;
    memcpy(avl_data(node), Buffer, BufferSize);
    Table->NumberGenericTableElements++;
    Table->OrderedPointer = NULL;
    avl_has_grown(Table, node);
    return avl_data(node);
}
NT_EXPORT(RtlInsertElementGenericTableFullAvl);

static PVOID NTAPI RtlInsertElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Buffer, ULONG BufferSize,
                                                   PBOOLEAN NewElement) {
    PVOID place;
    TABLE_SEARCH_RESULT result;
    RtlLookupElementGenericTableFullAvl(Table, Buffer, &place, &result);
    return RtlInsertElementGenericTableFullAvl(Table, Buffer, BufferSize, NewElement, place, result);
}
NT_EXPORT(RtlInsertElementGenericTableAvl);

static BOOLEAN NTAPI RtlDeleteElementGenericTableAvl(PRTL_AVL_TABLE Table, PVOID Buffer) {
    PVOID data = RtlLookupElementGenericTableAvl(Table, Buffer);
    if (!data)
        return FALSE;
    PRTL_BALANCED_LINKS node = avl_node(data);
    if (Table->RestartKey == node)
        Table->RestartKey = NULL;
    Table->DeleteCount++;
    Table->OrderedPointer = NULL;
    Table->NumberGenericTableElements--;
    avl_unlink(Table, node);
    Table->FreeRoutine(Table, node);
    return TRUE;
}
NT_EXPORT(RtlDeleteElementGenericTableAvl);

/* RestartKey is the node that was returned last, NULL before the first. */
static PVOID NTAPI RtlEnumerateGenericTableWithoutSplayingAvl(PRTL_AVL_TABLE Table, PVOID *RestartKey) {
    PRTL_BALANCED_LINKS last = *RestartKey, root = Table->BalancedRoot.RightChild;
    PRTL_BALANCED_LINKS node = last ? avl_next(Table, last) : avl_edge(root, false);
    if (node)
        *RestartKey = node;
    return avl_data(node);
}
NT_EXPORT(RtlEnumerateGenericTableWithoutSplayingAvl);

static PVOID NTAPI RtlEnumerateGenericTableAvl(PRTL_AVL_TABLE Table, BOOLEAN Restart) {
    if (Restart)
        Table->RestartKey = NULL;
    return RtlEnumerateGenericTableWithoutSplayingAvl(Table, (PVOID *)&Table->RestartKey);
}
NT_EXPORT(RtlEnumerateGenericTableAvl);

static PVOID NTAPI RtlGetElementGenericTableAvl(PRTL_AVL_TABLE Table, ULONG I) {
    PRTL_BALANCED_LINKS node = avl_edge(Table->BalancedRoot.RightChild, false);
    while (node && I-- > 0)
        node = avl_next(Table, node);
    return avl_data(node);
}
NT_EXPORT(RtlGetElementGenericTableAvl);

static ULONG NTAPI RtlNumberGenericTableElementsAvl(PRTL_AVL_TABLE Table) {
    return Table->NumberGenericTableElements;
}
NT_EXPORT(RtlNumberGenericTableElementsAvl);

static BOOLEAN NTAPI RtlIsGenericTableEmptyAvl(PRTL_AVL_TABLE Table) {
    return Table->NumberGenericTableElements == 0;
}
NT_EXPORT(RtlIsGenericTableEmptyAvl);

/* ------------------------------------------------------------------------------------------------- splay trees ---- */

typedef struct _RTL_SPLAY_LINKS {
    struct _RTL_SPLAY_LINKS *Parent, *LeftChild, *RightChild; /* the root is its own parent */
} RTL_SPLAY_LINKS, *PRTL_SPLAY_LINKS;

static PRTL_SPLAY_LINKS *splay_child(PRTL_SPLAY_LINKS node, bool right) {
    return right ? &node->RightChild : &node->LeftChild;
}

static bool splay_is_right(PRTL_SPLAY_LINKS node) {
    return node->Parent->RightChild == node;
}

static void splay_replace(PRTL_SPLAY_LINKS node, PRTL_SPLAY_LINKS other) {
    bool root = node->Parent == node;
    if (!root)
        *splay_child(node->Parent, splay_is_right(node)) = other;
    if (other)
        other->Parent = root ? other : node->Parent;
}

static void splay_lift(PRTL_SPLAY_LINKS up) {
    PRTL_SPLAY_LINKS down = up->Parent;
    bool right = splay_is_right(up);
    PRTL_SPLAY_LINKS inner = *splay_child(up, !right);
    splay_replace(down, up);
    *splay_child(down, right) = inner;
    if (inner)
        inner->Parent = down;
    *splay_child(up, !right) = down;
    down->Parent = up;
}

/* Makes a node the root, and returns it. */
static PRTL_SPLAY_LINKS NTAPI RtlSplay(PRTL_SPLAY_LINKS Links) {
    while (Links->Parent != Links) {
        PRTL_SPLAY_LINKS parent = Links->Parent;
        if (parent->Parent != parent)
            splay_lift(splay_is_right(Links) == splay_is_right(parent) ? parent : Links);
        splay_lift(Links);
    }
    return Links;
}
NT_EXPORT(RtlSplay);

static PRTL_SPLAY_LINKS splay_edge(PRTL_SPLAY_LINKS node, bool right) {
    while (node && *splay_child(node, right))
        node = *splay_child(node, right);
    return node;
}

/* The neighbour in order, on either side. */
static PRTL_SPLAY_LINKS splay_neighbour(PRTL_SPLAY_LINKS node, bool right) {
    if (*splay_child(node, right))
        return splay_edge(*splay_child(node, right), !right);
    while (node->Parent != node && *splay_child(node->Parent, right) == node)
        node = node->Parent;
    return node->Parent == node ? NULL : node->Parent;
}

static PRTL_SPLAY_LINKS NTAPI RtlRealSuccessor(PRTL_SPLAY_LINKS Links) {
    return splay_neighbour(Links, true);
}
NT_EXPORT(RtlRealSuccessor);

static PRTL_SPLAY_LINKS NTAPI RtlRealPredecessor(PRTL_SPLAY_LINKS Links) {
    return splay_neighbour(Links, false);
}
NT_EXPORT(RtlRealPredecessor);

static PRTL_SPLAY_LINKS NTAPI RtlSubtreeSuccessor(PRTL_SPLAY_LINKS Links) {
    return splay_edge(Links->RightChild, false);
}
NT_EXPORT(RtlSubtreeSuccessor);

static PRTL_SPLAY_LINKS NTAPI RtlSubtreePredecessor(PRTL_SPLAY_LINKS Links) {
    return splay_edge(Links->LeftChild, true);
}
NT_EXPORT(RtlSubtreePredecessor);

/* Takes a node out and returns the new root, NULL when it was the last. */
static PRTL_SPLAY_LINKS NTAPI RtlDelete(PRTL_SPLAY_LINKS Links) {
    RtlSplay(Links);
    PRTL_SPLAY_LINKS left = Links->LeftChild, right = Links->RightChild;
    if (right)
        right->Parent = right;
    if (!left)
        return right;
    left->Parent = left;
    left = RtlSplay(splay_edge(left, true));
    left->RightChild = right;
    if (right)
        right->Parent = left;
    return left;
}
NT_EXPORT(RtlDelete);

/* ------------------------------------------------------------------------------------ tables with a splay tree ---- */

struct _RTL_GENERIC_TABLE;
typedef RTL_GENERIC_COMPARE_RESULTS(NTAPI *PRTL_GENERIC_COMPARE_ROUTINE)(struct _RTL_GENERIC_TABLE *Table, PVOID First,
                                                                         PVOID Second);
typedef PVOID(NTAPI *PRTL_GENERIC_ALLOCATE_ROUTINE)(struct _RTL_GENERIC_TABLE *Table, ULONG ByteSize);
typedef VOID(NTAPI *PRTL_GENERIC_FREE_ROUTINE)(struct _RTL_GENERIC_TABLE *Table, PVOID Buffer);

typedef struct _RTL_GENERIC_TABLE {
    PRTL_SPLAY_LINKS TableRoot;
    LIST_ENTRY InsertOrderList;
    PLIST_ENTRY OrderedPointer;
    ULONG WhichOrderedElement;
    ULONG NumberGenericTableElements;
    PRTL_GENERIC_COMPARE_ROUTINE CompareRoutine;
    PRTL_GENERIC_ALLOCATE_ROUTINE AllocateRoutine;
    PRTL_GENERIC_FREE_ROUTINE FreeRoutine;
    PVOID TableContext;
} RTL_GENERIC_TABLE, *PRTL_GENERIC_TABLE;
_Static_assert(sizeof(RTL_GENERIC_TABLE) == 0x48, "as in Windows");

/* What stands before the caller's bytes. */
struct table_entry {
    RTL_SPLAY_LINKS links;
    LIST_ENTRY inserted; /* in the order in which they came: RtlGetElementGenericTable counts so */
};

static PVOID entry_data(struct table_entry *entry) {
    return entry ? entry + 1 : NULL;
}

static struct table_entry *entry_of(PRTL_SPLAY_LINKS links) {
    return (struct table_entry *)links;
}

static VOID NTAPI RtlInitializeGenericTable(PRTL_GENERIC_TABLE Table, PRTL_GENERIC_COMPARE_ROUTINE CompareRoutine,
                                            PRTL_GENERIC_ALLOCATE_ROUTINE AllocateRoutine,
                                            PRTL_GENERIC_FREE_ROUTINE FreeRoutine, PVOID TableContext) {
    *Table = (RTL_GENERIC_TABLE){
        .CompareRoutine = CompareRoutine,
        .AllocateRoutine = AllocateRoutine,
        .FreeRoutine = FreeRoutine,
        .TableContext = TableContext,
    };
    InitializeListHead(&Table->InsertOrderList);
}
NT_EXPORT(RtlInitializeGenericTable);

static PVOID NTAPI RtlLookupElementGenericTableFull(PRTL_GENERIC_TABLE Table, PVOID Buffer, PVOID *NodeOrParent,
                                                    TABLE_SEARCH_RESULT *SearchResult) {
    PRTL_SPLAY_LINKS node = Table->TableRoot;
    *NodeOrParent = NULL;
    *SearchResult = TableEmptyTree;
    while (node && *SearchResult != TableFoundNode) {
        RTL_GENERIC_COMPARE_RESULTS order = Table->CompareRoutine(Table, Buffer, entry_data(entry_of(node)));
        *NodeOrParent = node;
        *SearchResult = order == GenericEqual      ? TableFoundNode
                        : order == GenericLessThan ? TableInsertAsLeft
                                                   : TableInsertAsRight;
        node = *splay_child(node, order == GenericGreaterThan);
    }
    if (*SearchResult != TableFoundNode)
        return NULL;
    Table->TableRoot = RtlSplay(*NodeOrParent);
    return entry_data(entry_of(Table->TableRoot));
}
NT_EXPORT(RtlLookupElementGenericTableFull);

static PVOID NTAPI RtlLookupElementGenericTable(PRTL_GENERIC_TABLE Table, PVOID Buffer) {
    PVOID place;
    TABLE_SEARCH_RESULT result;
    return RtlLookupElementGenericTableFull(Table, Buffer, &place, &result);
}
NT_EXPORT(RtlLookupElementGenericTable);

static PVOID NTAPI RtlInsertElementGenericTableFull(PRTL_GENERIC_TABLE Table, PVOID Buffer, ULONG BufferSize,
                                                    PBOOLEAN NewElement, PVOID NodeOrParent,
                                                    TABLE_SEARCH_RESULT SearchResult) {
    bool found = SearchResult == TableFoundNode;
    struct table_entry *entry = NodeOrParent;
    if (!found)
        entry = Table->AllocateRoutine(Table, (ULONG)sizeof(*entry) + BufferSize);
    if (NewElement)
        *NewElement = !found && entry;
    if (found || !entry)
        return entry_data(entry);
    PRTL_SPLAY_LINKS parent = SearchResult == TableEmptyTree ? &entry->links : NodeOrParent;
    entry->links = (RTL_SPLAY_LINKS){.Parent = parent};
    if (parent != &entry->links)
        *splay_child(parent, SearchResult == TableInsertAsRight) = &entry->links;
    InsertTailList(&Table->InsertOrderList, &entry->inserted);
    memcpy(entry_data(entry), Buffer, BufferSize);
    Table->NumberGenericTableElements++;
    Table->TableRoot = RtlSplay(&entry->links);
    return entry_data(entry);
}
NT_EXPORT(RtlInsertElementGenericTableFull);

static PVOID NTAPI RtlInsertElementGenericTable(PRTL_GENERIC_TABLE Table, PVOID Buffer, ULONG BufferSize,
                                                PBOOLEAN NewElement) {
    PVOID place;
    TABLE_SEARCH_RESULT result;
    RtlLookupElementGenericTableFull(Table, Buffer, &place, &result);
    return RtlInsertElementGenericTableFull(Table, Buffer, BufferSize, NewElement, place, result);
}
NT_EXPORT(RtlInsertElementGenericTable);

static BOOLEAN NTAPI RtlDeleteElementGenericTable(PRTL_GENERIC_TABLE Table, PVOID Buffer) {
    if (!RtlLookupElementGenericTable(Table, Buffer))
        return FALSE;
    struct table_entry *entry = entry_of(Table->TableRoot);
    Table->TableRoot = RtlDelete(&entry->links);
    RemoveEntryList(&entry->inserted);
    Table->NumberGenericTableElements--;
    Table->FreeRoutine(Table, entry);
    return TRUE;
}
NT_EXPORT(RtlDeleteElementGenericTable);

static PVOID NTAPI RtlEnumerateGenericTableWithoutSplaying(PRTL_GENERIC_TABLE Table, PVOID *RestartKey) {
    PRTL_SPLAY_LINKS last = *RestartKey;
    PRTL_SPLAY_LINKS node = last ? RtlRealSuccessor(last) : splay_edge(Table->TableRoot, false);
    if (node)
        *RestartKey = node;
    return node ? entry_data(entry_of(node)) : NULL;
}
NT_EXPORT(RtlEnumerateGenericTableWithoutSplaying);

/* The element that was returned last is the root. */
static PVOID NTAPI RtlEnumerateGenericTable(PRTL_GENERIC_TABLE Table, BOOLEAN Restart) {
    PVOID last = Restart ? NULL : Table->TableRoot;
    PVOID data = RtlEnumerateGenericTableWithoutSplaying(Table, &last);
    if (data)
        Table->TableRoot = RtlSplay(last);
    return data;
}
NT_EXPORT(RtlEnumerateGenericTable);

static PVOID NTAPI RtlGetElementGenericTable(PRTL_GENERIC_TABLE Table, ULONG I) {
    PLIST_ENTRY link = Table->InsertOrderList.Flink;
    while (I-- > 0 && link != &Table->InsertOrderList)
        link = link->Flink;
    return link == &Table->InsertOrderList ? NULL : entry_data(CONTAINING_RECORD(link, struct table_entry, inserted));
}
NT_EXPORT(RtlGetElementGenericTable);

static ULONG NTAPI RtlNumberGenericTableElements(PRTL_GENERIC_TABLE Table) {
    return Table->NumberGenericTableElements;
}
NT_EXPORT(RtlNumberGenericTableElements);

static BOOLEAN NTAPI RtlIsGenericTableEmpty(PRTL_GENERIC_TABLE Table) {
    return Table->TableRoot == NULL;
}
NT_EXPORT(RtlIsGenericTableEmpty);
