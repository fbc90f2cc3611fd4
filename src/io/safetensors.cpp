#include "io/safetensors.h"

#include <algorithm>
#include <array>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "io/json.h"
#include "io/path.h"

namespace diffulex {
namespace {

using nlohmann::json;

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // the limit of the reference implementation
constexpr int kMaxHeaderDepth = 8;

struct DtypeSize {
  std::string_view name;
  unsigned bits;
};
constexpr std::array<DtypeSize, 20> kDtypes = {{
    {"BOOL", 8},    {"U8", 8},   {"I8", 8},   {"F8_E4M3", 8}, {"F8_E5M2", 8},
    {"F8_E8M0", 8}, {"I16", 16}, {"U16", 16}, {"F16", 16},    {"BF16", 16},
    {"I32", 32},    {"U32", 32}, {"F32", 32}, {"I64", 64},    {"U64", 64},
    {"F64", 64},    {"C64", 64}, {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6},
}};

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw Error(DIFFULEX_E_MODEL_FORMAT, file_name(path) + ": " + what).with("path", path);
}

Error tensor_problem(const std::string& path, const std::string& tensor, const std::string& what) {
  return Error(DIFFULEX_E_MODEL_FORMAT, file_name(path) + ": tensor '" + tensor + "' " + what)
      .with("path", path)
      .with("tensor", tensor);
}

// A tensor whose data does not lie in the file.
class OutsideFile : public Error {
 public:
  explicit OutsideFile(Error problem) : Error(std::move(problem)) {}
};

// One entry of the header on its way into a TensorEntry.
class EntryReader {
 public:
  EntryReader(const std::string& path, const std::string& name, const json& value)
      : path_(path), name_(name), value_(value) {}

  TensorEntry read(std::span<const std::byte> data) const {
    if (!value_.is_object()) refuse("is not described by an object");
    TensorEntry entry;
    entry.name = name_;
    entry.dtype = dtype();
    entry.shape = shape();
    const auto [begin, end] = offsets(data.size());
    entry.bytes = end - begin;
    entry.data = data.data() + begin;
    if (needed_bytes(entry) != entry.bytes) {
      refuse("has " + std::to_string(entry.bytes) + " bytes, which does not fit " + entry.dtype +
             " " + shape_text(entry.shape));
    }
    return entry;
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    throw tensor_problem(path_, name_, what);
  }

  const json& member(const char* key, json::value_t type) const {
    const auto found = value_.find(key);
    if (found == value_.end()) refuse(std::string("has no '") + key + "'");
    if (found->type() != type) refuse(std::string("has a '") + key + "' of the wrong type");
    return *found;
  }

  std::string dtype() const { return member("dtype", json::value_t::string).get<std::string>(); }

  std::vector<int64_t> shape() const {
    std::vector<int64_t> shape;
    for (const json& extent : member("shape", json::value_t::array)) {
      if (!extent.is_number_unsigned() ||
          extent.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) {
        refuse("has a 'shape' that is not a list of sizes");
      }
      shape.push_back(static_cast<int64_t>(extent.get<uint64_t>()));
    }
    return shape;
  }

  std::pair<size_t, size_t> offsets(size_t data_size) const {
    const json& pair = member("data_offsets", json::value_t::array);
    if (pair.size() != 2 || !pair[0].is_number_unsigned() || !pair[1].is_number_unsigned()) {
      refuse("has 'data_offsets' that are not two byte positions");
    }
    const auto begin = pair[0].get<uint64_t>();
    const auto end = pair[1].get<uint64_t>();
    if (begin > end || end > data_size) {
      throw OutsideFile(tensor_problem(path_, name_,
                                       "has data_offsets [" + std::to_string(begin) + ", " +
                                           std::to_string(end) + "] outside the " +
                                           std::to_string(data_size) + " data bytes of the file"));
    }
    return {static_cast<size_t>(begin), static_cast<size_t>(end)};
  }

  uint64_t needed_bytes(const TensorEntry& entry) const {
    const auto* known = std::find_if(kDtypes.begin(), kDtypes.end(), [&](const DtypeSize& size) {
      return size.name == entry.dtype;
    });
    if (known == kDtypes.end()) refuse("has the unknown dtype '" + entry.dtype + "'");
    uint64_t bits = known->bits;
    for (const int64_t extent : entry.shape) {
      if (__builtin_mul_overflow(bits, static_cast<uint64_t>(extent), &bits)) {
        refuse("has a shape that overflows: " + shape_text(entry.shape));
      }
    }
    if (bits % 8 != 0) refuse("does not end on a byte");
    return bits / 8;
  }

  const std::string& path_;
  const std::string& name_;
  const json& value_;
};

// What a clone without Git LFS leaves in place of a large file.
void refuse_pointer(std::span<const std::byte> file, const std::string& path) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()),
                              std::min<size_t>(file.size(), 100));
  if (text.starts_with("version ") && text.find("git-lfs") != std::string_view::npos) {
    fail(path, "this is a Git LFS pointer, not the file itself; fetch it with 'git lfs pull'");
  }
}

// The header's text; what follows it is data.
std::string_view header_text(std::span<const std::byte> file, const std::string& path) {
  refuse_pointer(file, path);
  if (file.size() < kLengthBytes) {
    fail(path, "only " + std::to_string(file.size()) + " bytes, too short for safetensors");
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) {
    length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  }
  if (length > kMaxHeaderBytes) {
    fail(path, "header length " + std::to_string(length) + " is above the limit of " +
                   std::to_string(kMaxHeaderBytes));
  }
  if (length > file.size() - kLengthBytes) {
    fail(path, "header length " + std::to_string(length) + " reaches past the end of the file");
  }
  const auto* text = reinterpret_cast<const char*>(file.data() + kLengthBytes);
  if (length == 0 || text[0] != '{') fail(path, "the header is not a JSON object");
  return {text, static_cast<size_t>(length)};
}

// Reads the header; what is malformed becomes a problem.
class HeaderReader {
 public:
  using Names = std::set<std::string, std::less<>>;

  HeaderReader(const std::string& path, Names* malformed, ProblemList* problems)
      : path_(path), malformed_(*malformed), problems_(*problems) {}

  std::vector<TensorEntry> read(std::span<const std::byte> file) {
    const std::string_view text = header_text(file, path_);
    const JsonDocument document = parse_json_object(text, path_, {.max_depth = kMaxHeaderDepth});
    const json& header = document.root();
    const std::span<const std::byte> data = file.subspan(kLengthBytes + text.size());
    std::vector<TensorEntry> entries;
    entries.reserve(header.size());
    for (const auto& [name, value] : header.items()) {  // the parser keeps keys sorted
      if (name == "__metadata__") continue;
      const EntryReader entry(path_, name, value);
      const bool sound =
          problems_.attempt([&] { read_entry(entry, data, &entries); }) && last_is_inside_;
      if (!sound) malformed_.insert(name);
    }
    report_outside();
    refuse_overlaps(&entries);
    return entries;
  }

 private:
  void read_entry(const EntryReader& entry, std::span<const std::byte> data,
                  std::vector<TensorEntry>* entries) {
    last_is_inside_ = true;
    try {
      entries->push_back(entry.read(data));
    } catch (const OutsideFile& problem) {
      last_is_inside_ = false;
      outside_.push_back(problem);
    }
  }

  // A file that was cut loses many tensors at once: one problem.
  void report_outside() {
    if (outside_.empty()) return;
    const Error& first = outside_.front();
    std::string message = first.message();
    if (outside_.size() > 1) {
      message += ", and so have " + std::to_string(outside_.size() - 1) + " more tensors";
    }
    Error problem(first.status(), message + "; is the file complete?");
    for (const auto& [key, value] : first.details()) static_cast<Error&&>(problem).with(key, value);
    problems_.add(problem);
  }

  void refuse_overlaps(std::vector<TensorEntry>* entries) {
    std::vector<const TensorEntry*> by_place;
    for (const TensorEntry& entry : *entries) {
      if (entry.bytes != 0) by_place.push_back(&entry);
    }
    std::sort(by_place.begin(), by_place.end(),
              [](const TensorEntry* a, const TensorEntry* b) { return a->data < b->data; });
    for (size_t i = 1; i < by_place.size(); ++i) {
      const TensorEntry& before = *by_place[i - 1];
      if (before.data + before.bytes <= by_place[i]->data) continue;
      problems_.add(
          tensor_problem(path_, by_place[i]->name, "overlaps tensor '" + before.name + "'"));
      malformed_.insert(by_place[i]->name);
    }
    std::erase_if(*entries, [&](const TensorEntry& e) { return malformed_.contains(e.name); });
  }

  const std::string& path_;
  Names& malformed_;
  ProblemList& problems_;
  std::vector<Error> outside_;
  bool last_is_inside_ = true;
};

}  // namespace

std::optional<DType> weight_dtype(std::string_view name) {
  if (name == "F32") return DType::kF32;
  if (name == "F16") return DType::kF16;
  if (name == "BF16") return DType::kBF16;
  return std::nullopt;
}

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i != 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

std::vector<TensorEntry> SafetensorsFile::parse(std::span<const std::byte> file,
                                                const std::string& path) {
  ProblemList problems;
  std::set<std::string, std::less<>> malformed;
  std::vector<TensorEntry> entries = HeaderReader(path, &malformed, &problems).read(file);
  problems.check(path);
  return entries;
}

SafetensorsFile::SafetensorsFile(const std::string& path)
    : file_(path), entries_(parse(file_.bytes(), path)) {}

SafetensorsFile::SafetensorsFile(const std::string& path, ProblemList* problems)
    : file_(path), entries_(HeaderReader(path, &malformed_, problems).read(file_.bytes())) {}

const TensorEntry* SafetensorsFile::find(std::string_view name) const noexcept {
  const auto found = std::lower_bound(
      entries_.begin(), entries_.end(), name,
      [](const TensorEntry& entry, std::string_view wanted) { return entry.name < wanted; });
  return found != entries_.end() && found->name == name ? &*found : nullptr;
}

}  // namespace diffulex
