/*
 * hello.cpp - a driver in C++: classes, templates and scopes, without exceptions, run-time types or a library.
 *
 * What the C++ library would bring, a driver brings itself: here operator new, which says from which pool. Static
 * objects with constructors are left out on purpose; nobody would call those in a driver.
 */
#include <ntddk.h>

constexpr ULONG Tag = 'ppcH';

void *operator new(size_t Size, POOL_TYPE Type) {
    return ExAllocatePoolWithTag(Type, Size, Tag);
}

void operator delete(void *Block) {
    if (Block != nullptr)
        ExFreePoolWithTag(Block, Tag);
}

void operator delete(void *Block, size_t) {
    operator delete(Block);
}

/* Holds a spin lock as long as it lives, and lets go of it however its scope is left. */
class Locked {
  public:
    explicit Locked(KSPIN_LOCK &Lock) : lock(Lock) {
        KeAcquireSpinLock(&lock, &before);
    }
    ~Locked() {
        KeReleaseSpinLock(&lock, before);
    }
    Locked(const Locked &) = delete;
    Locked &operator=(const Locked &) = delete;

  private:
    KSPIN_LOCK &lock;
    KIRQL before;
};

class Greeting {
  public:
    virtual ~Greeting() = default;
    virtual const char *Text() const = 0;
};

class Hello : public Greeting {
  public:
    const char *Text() const override {
        return "hello from C++";
    }
};

template <typename T> T Largest(T First, T Second) {
    return First > Second ? First : Second;
}

static KSPIN_LOCK Lock;

static VOID Unload(PDRIVER_OBJECT) {
    DbgPrint("hello: unloaded\n");
}

/* Windows looks for this name, not for one with its parameters woven in. */
extern "C" NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING) {
    KeInitializeSpinLock(&Lock);

    Greeting *greeting = new (NonPagedPoolNx) Hello;
    if (greeting == nullptr)
        return STATUS_INSUFFICIENT_RESOURCES;
    DbgPrint("hello: %s\n", greeting->Text());
    delete greeting;

    {
        Locked locked(Lock);
        DbgPrint("hello: IRQL %u inside of the scope\n", KeGetCurrentIrql());
    }
    DbgPrint("hello: IRQL %u behind it, %d is larger\n", KeGetCurrentIrql(), Largest(3, 7));

    DriverObject->DriverUnload = Unload;
    return STATUS_SUCCESS;
}
