// What reading and copying cost at least on this machine.
#pragma once

#include <string>
#include <vector>

namespace diffulex_bench {

// Bytes of the files, in order; the files as a whole.
std::vector<std::string> weight_files(const std::string& dir);
double bytes_of(const std::vector<std::string>& files);

// Puts the files out of the page cache, as far as the system does it.
void drop_cached(const std::vector<std::string>& files);

// GB/s, all threads together: files into buffers of 1 MiB; a buffer into another one (bytes
// copied); reads of memory alone.
double file_rate(const std::vector<std::string>& files, int threads);
double copy_rate(int threads);
double fresh_rate(int threads);  // 1 GiB of new memory in huge pages, written once
double memory_rate(int threads);

}  // namespace diffulex_bench
