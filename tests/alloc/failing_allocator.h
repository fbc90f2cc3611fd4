// Replaces the process's operator new and posix_memalign by ones that fail once, at an allocation
// of choice. Allocations of libraries that give no promise about it are left alone.
#pragma once

#include <cstdint>

namespace diffulex_alloc {

// The n-th allocation from now on fails, once; 0: none does.
void fail_at(uint64_t n);
// Whether it has failed since then.
bool has_failed();
// Allocations since the last fail_at().
uint64_t count();
// Blocks of operator new that nobody has deleted, in the whole process.
int64_t live_blocks();

}  // namespace diffulex_alloc
