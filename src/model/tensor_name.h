// Tensor names as files spell them, and as tables do.
#pragma once

#include <string>
#include <string_view>

namespace diffulex {

// Without what training wrappers leave in names: "module.", "_orig_mod.", a doubled "model.".
std::string canonical_tensor_name(std::string_view name);

// Leftovers of other runtimes (rotary tables, value heads, vision towers): not weights of this
// body.
bool is_ignorable_tensor(std::string_view name);

}  // namespace diffulex
