/* wchar.h - mingw-w64's, with the formatting functions of our stdio.h in place of its own. */
#pragma once
#pragma clang system_header

#include "stdio.h"
#include_next <wchar.h>
