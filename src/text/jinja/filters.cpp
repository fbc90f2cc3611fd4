#include "text/jinja/filters.h"

namespace diffulex::jinja {

Filter find_filter(std::string_view name) {
  for (const auto& entries :
       {text_filters(), number_filters(), sequence_filters(), select_filters(), sort_filters()})
    for (const FilterEntry& entry : entries)
      if (entry.name == name) return entry.filter;
  return nullptr;
}

}  // namespace diffulex::jinja
