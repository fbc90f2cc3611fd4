// The filters.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja/ast.h"

namespace diffulex::jinja {

// Null: there is none of that name.
Filter find_filter(std::string_view name);

struct FilterEntry {
  std::string_view name;
  Filter filter;
};

std::span<const FilterEntry> text_filters();
std::span<const FilterEntry> number_filters();
std::span<const FilterEntry> sequence_filters();
std::span<const FilterEntry> select_filters();
std::span<const FilterEntry> sort_filters();

}  // namespace diffulex::jinja
