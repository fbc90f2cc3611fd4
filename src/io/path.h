// The little that is needed of file names.
#pragma once

#include <string>
#include <string_view>

namespace diffulex {

std::string join_path(std::string_view dir, std::string_view name);
std::string file_name(std::string_view path);  // the part after the last '/'
bool file_exists(const std::string& path);     // follows links; false for what cannot be asked
bool entry_exists(const std::string& path);    // does not: true for a link that leads nowhere

}  // namespace diffulex
