// "a.b.0": how filters name what they look for inside of each item.
#pragma once

#include <vector>

#include "text/jinja/run.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

class AttributePath {
 public:
  // Null or none: the item itself. Errors: neither a string nor an integer.
  AttributePath(Run& run, const Value* path);

  // absent, where given, stands for each part that is undefined. Errors: as of element().
  Value find(Run& run, Value item, const Value* absent = nullptr) const;

 private:
  std::vector<Value> parts_;
};

// "a,b": several paths, whose finds are compared one after the other.
std::vector<AttributePath> attribute_paths(Run& run, const Value* paths);

}  // namespace diffulex::jinja
