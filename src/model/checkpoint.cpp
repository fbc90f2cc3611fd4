#include "model/checkpoint.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "io/path.h"
#include "model/directory.h"
#include "model/quantization.h"
#include "model/shards.h"
#include "model/tensor_name.h"

namespace diffulex {
namespace {

struct Found {
  const TensorEntry* entry;
  std::string file;
};

WeightView view_of(const TensorEntry& entry, DType dtype) {
  WeightView view;
  view.data = entry.data;
  view.dtype = dtype;
  view.rows = entry.shape[0];
  view.cols = entry.shape.size() == 2 ? entry.shape[1] : 1;
  view.name = entry.name;
  view.mapped = true;
  return view;
}

// Rows that nobody reads may follow, see TensorSlot::most_rows.
bool fits(const TensorEntry& entry, const TensorSlot& slot) {
  if (entry.shape.size() != slot.shape.size()) return false;
  return std::equal(entry.shape.begin() + 1, entry.shape.end(), slot.shape.begin() + 1) &&
         entry.shape[0] >= slot.shape[0] &&
         entry.shape[0] <= std::max(slot.shape[0], slot.most_rows);
}

// In pieces whose pages are given back: neither matrix has to be in memory as a whole.
bool same_values(const WeightView& a, const WeightView& b) {
  constexpr size_t kPiece = size_t{4} << 20;
  if (a.dtype != b.dtype) return false;
  bool same = true;
  for (size_t at = 0; same && at < a.bytes(); at += kPiece) {
    const size_t count = std::min(kPiece, a.bytes() - at);
    same = std::memcmp(a.data + at, b.data + at, count) == 0;
    MappedFile::release(a.data + at, count);
    MappedFile::release(b.data + at, count);
  }
  return same;
}

}  // namespace

// The steps of open(); collects problems until all tensors have been looked at.
class Checkpoint::Opener {
 public:
  Opener(const std::string& dir, Checkpoint* checkpoint, ProblemList* problems)
      : dir_(dir), result_(*checkpoint), problems_(*problems) {}

  void run(ModelConfig model) {
    result_.arch_ = std::move(model.arch);
    result_.warnings_ = std::move(model.warnings);
    Shards shards = open_shards(dir_, &problems_);
    result_.files_ = std::move(shards.files);
    for (const std::string& name : shards.unread) unread_.insert(canonical_tensor_name(name));
    complete_ = shards.complete;
    collect_tensors();
    if (model.quantized || report_quantized()) return;  // other tensors than those of the table
    if (model.family == nullptr) {
      problems_.note("tensors were not checked, as config.json does not tell which there must be");
      return;
    }
    for (const TensorSlot& slot : model.family->tensors(result_.arch_, &result_.weights_)) {
      fill(slot);
    }
    report_unexpected();
    if (!complete_) problems_.note("missing tensors are not told, as not every file could be read");
    if (problems_.empty()) settle_head();
  }

 private:
  void add(const std::string& what, const std::string& tensor) {
    problems_.add(Error(DIFFULEX_E_MODEL_FORMAT, what).with("path", dir_).with("tensor", tensor));
  }

  void collect_tensors() {
    for (const SafetensorsFile& file : result_.files_) {
      for (const TensorEntry& entry : file.entries()) collect(entry, file_name(file.path()));
    }
  }

  void collect(const TensorEntry& entry, const std::string& file) {
    const auto [place, added] =
        found_.try_emplace(canonical_tensor_name(entry.name), Found{&entry, file});
    if (added) return;
    const Found& other = place->second;
    add(file + ": tensor '" + entry.name + "' is there twice, also as '" + other.entry->name +
            "' in " + other.file,
        entry.name);
  }

  // Names the first tensor that gives it away: the others would only repeat it.
  bool report_quantized() {
    for (const auto& [name, found] : found_) {
      const std::string_view format = quantization_of(name, found.entry->dtype);
      if (format.empty() || is_ignorable_tensor(name)) continue;
      problems_.add(Error(DIFFULEX_E_MODEL_UNSUPPORTED,
                          found.file + ": tensor '" + found.entry->name + "' " +
                              found.entry->dtype + ": " + quantization_advice(format))
                        .with("path", join_path(dir_, found.file))
                        .with("tensor", found.entry->name));
      return true;
    }
    return false;
  }

  void fill(const TensorSlot& slot) {
    const auto place = found_.find(slot.name);
    if (place == found_.end()) {
      const bool may_be_elsewhere = !complete_ || unread_.contains(slot.name);
      if (slot.view == &result_.weights_.head) {  // whether it may be absent is settled at the end
        head_name_ = slot.name;
      } else if (!may_be_elsewhere) {
        add("missing tensor '" + slot.name + "' of shape " + shape_text(slot.shape), slot.name);
      }
      return;
    }
    const auto [entry, file] = std::move(place->second);
    found_.erase(place);
    const std::optional<DType> dtype = weight_dtype(entry->dtype);
    const std::string subject = file + ": tensor '" + entry->name + "' has ";
    if (!dtype) add(subject + "dtype " + entry->dtype + ", not F32, F16 or BF16", entry->name);
    if (!fits(*entry, slot)) {
      add(subject + "shape " + shape_text(entry->shape) + ", expected " + shape_text(slot.shape),
          entry->name);
    } else if (dtype) {
      *slot.view = view_of(*entry, *dtype);
      slot.view->rows = slot.shape[0];
      result_.weight_bytes_ += slot.view->bytes();
    }
  }

  void report_unexpected() {
    for (const auto& [name, found] : found_) {
      const std::string what = found.file + ": unexpected tensor '" + found.entry->name + "' " +
                               found.entry->dtype + " " + shape_text(found.entry->shape);
      if (is_ignorable_tensor(name)) {
        result_.warnings_.push_back(what + " is ignored");
      } else {
        add(what, found.entry->name);
      }
    }
  }

  // Config and file may disagree about tying: the file is right.
  void settle_head() {
    WeightView& head = result_.weights_.head;
    const WeightView& embedding = result_.weights_.embedding;
    bool& tied = result_.arch_.tied_embeddings;
    if (!head) {
      if (!tied) warn("there is no " + head_name_ + ": the embedding is used for it, as if tied");
      tied = true;
      head = embedding;
    } else if (tied && same_values(head, embedding)) {
      result_.weight_bytes_ -= head.bytes();
      head = embedding;
    } else if (tied) {
      warn("config.json ties the embeddings, but " + head.name +
           " differs from the embedding: not tied");
      tied = false;
    }
  }

  void warn(std::string text) { result_.warnings_.push_back(std::move(text)); }

  const std::string& dir_;
  Checkpoint& result_;
  ProblemList& problems_;
  std::map<std::string, Found> found_;  // by canonical name; what is left in the end is unexpected
  std::set<std::string> unread_;        // canonical names of tensors in what could not be read
  bool complete_ = true;                // false: any tensor may be there
  std::string head_name_;               // of the head that is not there
};

ArchSpec read_arch(const std::string& dir) { return read_model_config(dir).arch; }

std::shared_ptr<Checkpoint> Checkpoint::open(const std::string& dir, const ModelConfig* known,
                                             std::span<const Family> families,
                                             ProblemList* problems) {
  if (!problems->attempt([&] { check_directory(dir); })) return nullptr;
  if (!entry_exists(join_path(dir, "config.json")) && files_with(dir, ".safetensors").empty()) {
    problems->add(missing_config(dir));  // it speaks of both
    return nullptr;
  }
  ProblemList own;
  std::shared_ptr<Checkpoint> checkpoint(new Checkpoint);
  Opener(dir, checkpoint.get(), &own)
      .run(known != nullptr ? *known : read_model_config(dir, families, &own));
  if (own.empty()) return checkpoint;
  problems->add(own);
  return nullptr;
}

std::shared_ptr<Checkpoint> Checkpoint::open(const std::string& dir, const ModelConfig* known,
                                             ProblemList* problems) {
  return open(dir, known, diffulex::families(), problems);
}

std::shared_ptr<Checkpoint> Checkpoint::open(const std::string& dir,
                                             std::span<const Family> families) {
  ProblemList problems;
  std::shared_ptr<Checkpoint> checkpoint = open(dir, nullptr, families, &problems);
  problems.check(dir);
  return checkpoint;
}

void Checkpoint::release_pages() const noexcept {
  for (const SafetensorsFile& file : files_) file.release_pages();
}

}  // namespace diffulex
