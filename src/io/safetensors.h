// One safetensors file, mapped and checked: every entry lies inside the file and overlaps no other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/dtype.h"
#include "base/problem_list.h"
#include "io/mapped_file.h"

namespace diffulex {

struct TensorEntry {
  std::string name;
  std::string dtype;  // as the file spells it: "BF16"
  std::vector<int64_t> shape;
  const std::byte* data = nullptr;  // borrowed; the format does not promise any alignment
  size_t bytes = 0;
};

// The dtypes that weights may have; nothing for other (known) ones.
std::optional<DType> weight_dtype(std::string_view name);

std::string shape_text(std::span<const int64_t> shape);  // "[96, 64]"

class SafetensorsFile {
 public:
  // Throws Error: DIFFULEX_E_IO, or DIFFULEX_E_MODEL_FORMAT naming the file and the tensor.
  explicit SafetensorsFile(const std::string& path);
  // The same, but malformed tensors are left out and added to *problems, not thrown.
  SafetensorsFile(const std::string& path, ProblemList* problems);

  // The check alone, on bytes in memory; path is for messages. Entries come sorted by name.
  static std::vector<TensorEntry> parse(std::span<const std::byte> file, const std::string& path);

  const std::string& path() const noexcept { return file_.path(); }
  const std::vector<TensorEntry>& entries() const noexcept { return entries_; }
  const TensorEntry* find(std::string_view name) const noexcept;  // nullptr: no such tensor
  const std::set<std::string, std::less<>>& malformed() const noexcept { return malformed_; }
  bool is_malformed(std::string_view name) const { return malformed_.contains(name); }
  void release_pages() const noexcept { file_.release_pages(); }

 private:
  MappedFile file_;
  std::set<std::string, std::less<>> malformed_;  // names of entries that were left out
  std::vector<TensorEntry> entries_;
};

}  // namespace diffulex
