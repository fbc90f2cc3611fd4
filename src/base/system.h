// Facts of the machine.
#pragma once

#include <cstdint>
#include <string>

namespace diffulex {

uint64_t monotonic_ns();
uint64_t memory_total_bytes();
uint64_t memory_available_bytes();  // to a new allocation, without swapping
int processor_count();              // that this process may run on
std::string processor_name();

}  // namespace diffulex
