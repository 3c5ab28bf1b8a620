"""What a failed test shows, for README.md. pytest collects this file only where it is named."""


def test_pool_page_is_executable(booted, assert_maps):
    page = booted.call.ExAllocatePoolWithTag(512, 4096, 0x74736554).result
    booted.call.DbgPrint("the page is at %p\n", page)
    assert_maps(page, access="rwx", memory_type="WB")
