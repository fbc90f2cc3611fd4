// What one rendering owns beside its scopes.
#pragma once

#include <ctime>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "text/jinja/budget.h"
#include "text/jinja/value.h"

namespace diffulex::jinja {

struct Namespace {
  std::unordered_map<std::string, Value> attributes;
};

// Belongs to one thread.
struct Run {
  Run(const Limits& limits, std::time_t time) : budget(limits), now(time) {}

  Budget budget;
  std::time_t now;  // what strftime_now tells
  // Namespaces may hold each other in circles, so values only point to them.
  std::vector<std::unique_ptr<Namespace>> namespaces;

  Namespace* make_namespace() {
    budget.bytes(sizeof(Namespace));
    namespaces.push_back(std::make_unique<Namespace>());
    return namespaces.back().get();
  }
};

}  // namespace diffulex::jinja
